"""Fill the outcome store: run every branch that the configuration needs, and decide nothing.

python -m experiments.collect
python -m experiments.collect eval.split=train eval.max_samples=12000
python -m experiments.collect eval.num_shards=4 launcher=slurm
"""

from pathlib import Path
from typing import Any

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import say


def run(config: RunConfig, folder: Path, session: Session | None = None) -> dict[str, Any]:
    """Collect a split, or ``eval.shard`` of it, and write ``summary.json``.

    VoVNet's branches are its action space's, so that no policy need be trained yet; a baseline's are its own.
    """
    import time
    from dataclasses import asdict

    from vovnet.actions import ACTION_SPACES
    from vovnet.backbone.files import find_checkpoint
    from vovnet.data import load_dataset
    from vovnet.files import write_json
    from vovnet.outcomes.load import collect_outcomes
    from vovnet.policy.protocol import TEXT
    from vovnet.provenance import SUMMARY, provenance
    from vovnet.results.matching import make_policy

    begun, session = time.monotonic(), session or Session()
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    actions, with_text = ACTION_SPACES[config.policy.action_space], True
    if config.policy.baseline.name:
        policy = make_policy(config, checkpoint, session)
        actions, with_text = policy.looks, TEXT in policy.needs
    computed = collect_outcomes(config, checkpoint, dataset, actions, count, with_text, session)
    summary = {
        "config": asdict(config),
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "backbone": {"folder": str(checkpoint.folder), "fingerprint": checkpoint.fingerprint},
        "num_samples": count,
        "rows_computed": dict(computed),
        "rows_skipped": list(dataset.skipped),
        "wall_seconds": round(time.monotonic() - begun, 3),
        **provenance(session),
    }
    write_json(folder / SUMMARY, summary)
    return summary


def show(summary: dict[str, Any], folder: Path) -> None:
    """Print what was computed."""
    computed = ", ".join(f"{rows} {branch}" for branch, rows in summary["rows_computed"].items())
    say(f"{summary['dataset']['name']}/{summary['dataset']['split']}, {summary['num_samples']} samples: {computed}")
    say(f"outputs: {folder}")


def finish(folder: Path) -> bool:
    """List the parts; False when one failed."""
    from vovnet.results.sweep import sweep_jobs, write_jobs

    jobs = sweep_jobs(folder)
    write_jobs(folder, jobs)
    for job in jobs:
        say(f"{job.folder}: {' '.join(job.overrides)}: {job.error or 'done'}")
    say(f"outputs: {folder}")
    return all(job.error is None for job in jobs)


def main() -> None:
    """Console entry point."""
    launch("collect", run, show, finish)


if __name__ == "__main__":
    main()
