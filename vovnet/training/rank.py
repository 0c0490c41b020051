"""One rank of a training, in a process of its own: ``python -m vovnet.training.rank FOLDER``."""

import sys
import time
from pathlib import Path

from vovnet.rank_launch import run_rank
from vovnet.ranks import is_main_rank
from vovnet.schema import RunConfig
from vovnet.training.report import write_training
from vovnet.training.stages import train_policy


def train_as_rank(config: RunConfig, folder: Path) -> None:
    """Train; rank 0 writes."""
    begun = time.monotonic()
    trained = train_policy(config, config.training, folder)
    if is_main_rank():
        write_training(config, trained, folder, time.monotonic() - begun)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    run_rank(place, lambda config: train_as_rank(config, place))
