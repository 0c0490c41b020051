"""A training as a command asks for it: in this process, or as several ranks."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.policy.trained import Trained
from vovnet.rank_launch import launch_ranks, needs_launch, run_rank
from vovnet.ranks import check_ranks, is_main_rank, world_size
from vovnet.results.read import read_summary
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.training.questions import training_data
from vovnet.training.report import existing_training, write_training
from vovnet.training.stages import train_policy


def train(config: RunConfig, folder: Path, session: Session) -> dict[str, Any]:
    """Train a policy into ``folder`` and return its summary; one that exists there with the same inputs is kept."""
    config = replace(config, policy=replace(config.policy, baseline=Trained("")))  # VoVNet itself is trained
    if config.backbone.base_url is not None:
        raise VoVNetError(
            f"a policy learns from hidden states, which the server of backbone={config.backbone.name} does not give; "
            "train on the model itself (backbone.path=FOLDER), or choose a baseline."
        )
    begun = time.monotonic()
    if world_size() > 1:
        check_ranks(config.trainer.devices, config.trainer.num_nodes)  # before any work
    if (existing := existing_training(config, folder, session)) is not None:
        return existing
    if needs_launch(config):
        training_data(config, config.training, session)  # generates, reads and refuses once instead of on every rank
        launch_ranks(config, folder, "vovnet.training.run", "goes on from the last checkpoint")
        return read_summary(folder)
    trained = train_policy(config, config.training, folder, session)
    return write_training(config, trained, folder, time.monotonic() - begun, session) if is_main_rank() else {}


def train_as_rank(config: RunConfig, folder: Path) -> None:
    """Train; rank 0 writes."""
    begun = time.monotonic()
    trained = train_policy(config, config.training, folder)
    if is_main_rank():
        write_training(config, trained, folder, time.monotonic() - begun)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    run_rank(place, lambda config: train_as_rank(config, place))
