"""Target ratios of the random baseline from a VoVNet run, as overrides to copy.

python -m experiments.match policy.baseline.match=multirun/a1_pareto/JOB [policy.baseline.buckets=true]
"""

from pathlib import Path

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.outcomes.variants import full_pruning
from vovnet.policy.baselines import RandomPolicy
from vovnet.schema import RandomBaseline, RunConfig
from vovnet.session import Session
from vovnet.terminal import say


def run(config: RunConfig, folder: Path, session: Session | None = None) -> RandomPolicy:
    """Resolve the configured target."""
    from vovnet.policy.matching import random_policy

    if not isinstance(config.policy.baseline, RandomBaseline):
        raise VoVNetError("experiments.match is about random_policy_matched; leave policy/baseline out.")
    return random_policy(config.policy.baseline, config.dataset, config.eval.split, full_pruning(config))


def show(policy: RandomPolicy, folder: Path) -> None:
    """Print the overrides that evaluate the same policy without the run."""
    triples = ["[" + ",".join(f"{share:.6f}" for share in ratios) + "]" for ratios in policy.ratios]
    say("policy/baseline=random_policy_matched")
    if len(triples) == 1:
        say(f"policy.baseline.target_ratios={triples[0]}")
        return
    say(f"policy.baseline.bucket_ratios=[{','.join(triples)}]")
    if policy.thresholds is not None:
        say(f"policy.baseline.bucket_thresholds=[{','.join(f'{bound:.6f}' for bound in policy.thresholds)}]")


def main() -> None:
    """Console entry point."""
    launch("match", run, show, None)


if __name__ == "__main__":
    main()
