"""Target ratios of the random baseline from a VoVNet run, as overrides to copy.

python -m experiments.match policy.baseline.match=multirun/a1_pareto/JOB
python -m experiments.match policy.baseline.match=multirun/a1_pareto/JOB policy.baseline.buckets=true
"""

from pathlib import Path

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.policy.protocol import Target
from vovnet.policy.random_matched import RandomMatched
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import say


def run(config: RunConfig, folder: Path, session: Session | None = None) -> Target:
    """Resolve the configured target."""
    from vovnet.results.matching import target_of

    options = config.policy.baseline
    if not isinstance(options, RandomMatched):
        raise VoVNetError("experiments.match is about random_policy_matched; leave policy/baseline out.")
    return target_of(options, config)


def show(target: Target, folder: Path) -> None:
    """Print the overrides that evaluate the same policy without the run."""
    triples = ["[" + ",".join(f"{share:.6f}" for share in ratios) + "]" for ratios in target.ratios]
    say("policy/baseline=random_policy_matched")
    if len(triples) == 1:
        say(f"policy.baseline.target_ratios={triples[0]}")
        return
    say(f"policy.baseline.bucket_ratios=[{','.join(triples)}]")
    if target.thresholds is not None:
        say(f"policy.baseline.bucket_thresholds=[{','.join(f'{bound:.6f}' for bound in target.thresholds)}]")


finish = None  # it is not swept


def main() -> None:
    """Console entry point."""
    launch("match", run, show, finish)


if __name__ == "__main__":
    main()
