"""Train the policy.

python -m experiments.train
python -m experiments.train -m training.seed=0,1,2
"""

from pathlib import Path
from typing import Any

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session


def run(config: RunConfig, folder: Path, session: Session | None = None) -> dict[str, Any]:
    """Train into ``folder`` and return the summary; a training that exists there with the same inputs is kept."""
    from vovnet.training.run import train

    return train(config, folder, session or Session())


def show(trained: dict[str, Any], folder: Path) -> None:
    """Print what came of a single training."""
    from vovnet.training.report import print_training

    print_training(trained, folder)


def finish(folder: Path) -> bool:
    """Merge a sweep into one table; False when a job failed."""
    from vovnet.report.table import print_trainings
    from vovnet.training.sweep import merge_trainings

    lines, failed, checks = merge_trainings(folder)
    print_trainings(lines, checks, folder, failed)
    return not failed


def main() -> None:
    """Console entry point."""
    launch("train", run, show, finish)


if __name__ == "__main__":
    main()
