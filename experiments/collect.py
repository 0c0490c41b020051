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
from vovnet.terminal import counted, say


def run(config: RunConfig, folder: Path, session: Session | None = None) -> dict[str, Any]:
    """Collect a split, or ``eval.shard`` of it, and write ``summary.json``.

    VoVNet's branches are its action space's, so that no policy need be trained yet; a baseline's are its own.
    """
    from vovnet.results.collected import collect

    return collect(config, folder, session or Session())


def show(summary: dict[str, Any], folder: Path) -> None:
    """Print what was computed."""
    computed = ", ".join(f"{rows} {branch}" for branch, rows in summary["rows_computed"].items())
    say(
        f"{summary['dataset']['name']}/{summary['dataset']['split']}, "
        f"{counted(summary['num_samples'], 'sample')}: {computed}"
    )
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
