"""Train the policy, or with ``+experiment=tiny_backbone`` the packaged backbone.

python -m experiments.train
python -m experiments.train -m training.seed=0,1,2
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Union

from vovnet.compose import launch
from vovnet.schema import RunConfig, TinyBackboneTraining

if TYPE_CHECKING:
    from vovnet.training.policy import Trained


def run(config: RunConfig, folder: Path) -> Union["Trained", Path]:
    """Train into ``folder``; returns the trained policy, or the folder of the trained backbone."""
    if isinstance(config.training, TinyBackboneTraining):
        from vovnet.training.tiny_backbone import train_tiny_backbone

        return train_tiny_backbone(config, config.training, folder)
    from vovnet.training.policy import train_policy
    from vovnet.training.report import write_training

    begun = time.monotonic()
    trained = train_policy(config, config.training, folder)
    write_training(config, trained, folder, time.monotonic() - begun)
    return trained


def show(trained: Union["Trained", Path], folder: Path) -> None:
    """Print what came of a single training."""
    if isinstance(trained, Path):
        print(f"outputs: {trained}")
        return
    from vovnet.training.report import print_training

    print_training(trained, folder)


def finish(folder: Path) -> bool:
    """List the jobs of a sweep; False when one failed."""
    from vovnet.results.sweep import sweep_jobs

    jobs = sweep_jobs(folder)
    for job in jobs:
        print(f"{job.folder}: {' '.join(job.overrides)}: {job.error or 'done'}")
    print(f"outputs: {folder}")
    return all(job.error is None for job in jobs)


def main() -> None:
    """Console entry point."""
    launch("train", run, show, finish)


if __name__ == "__main__":
    main()
