"""Lightning's Trainer for a stage: devices, strategy, who started the ranks, where metrics go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies.model_parallel import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy

from vovnet.errors import VoVNetError, first_line
from vovnet.lightning_parts import environment
from vovnet.ranks import check_ranks
from vovnet.schema import LoggerConfig, Precision, TrainerConfig
from vovnet.training.checkpoint_io import AtomicCheckpointIO

SINGLE = TrainerConfig(strategy="single", devices=1, num_nodes=1)
CSV_ONLY = LoggerConfig(name="csv", project=None, entity=None, offline=False)


@dataclass(frozen=True)
class Plan:
    """How a stage runs.

    Attributes:
        stage: names its checkpoints.
        steps: optimiser steps in all.
        save_every, validate_every: optimiser steps.
        gradient_clip: norm; 0 does not clip.
        accumulate: batches an optimiser step.
        monitor: validation metric by which the best weights are kept, and ``min`` or ``max``; None keeps the last.
        precision: Lightning's name.
    """

    stage: str
    steps: int
    save_every: int
    validate_every: int
    gradient_clip: float
    seed: int
    accumulate: int = 1
    monitor: tuple[str, str] | None = None
    precision: Precision = "32-true"


@dataclass(frozen=True)
class Place:
    """Where a stage runs and what it leaves there.

    Attributes:
        folder: takes ``steps/`` (checkpoints) and ``log/`` (metrics).
        device: of this process.
        trainer: devices and strategy.
        logger: where metrics go besides ``log/metrics.csv``.
    """

    folder: Path
    device: torch.device
    trainer: TrainerConfig = SINGLE
    logger: LoggerConfig = CSV_ONLY


def make_trainer(
    plan: Plan, place: Place, callbacks: Sequence[L.Callback], loggers: Sequence[Logger], validate: bool
) -> L.Trainer:
    """A trainer that runs a plan in a place.

    Raises:
        VoVNetError: the devices or the strategy are not there, other ranks run than are asked for, or the device does
            not train in this precision.
    """
    where = place.trainer
    check_ranks(where.devices, where.num_nodes)
    cuda = place.device.type == "cuda"
    if plan.precision == "16-mixed" and not cuda:  # Lightning would take bfloat16, and say so in a warning at most
        raise VoVNetError(
            "training.backbone.precision=16-mixed scales losses as only a CUDA device can, and this training runs on a "
            "CPU; set it to bf16-mixed or 32-true."
        )
    single = [place.device.index or 0] if cuda else 1
    try:
        return L.Trainer(
            accelerator="gpu" if cuda else "cpu",
            strategy=_strategy(where),
            devices=single if where.strategy == "single" else where.devices,
            num_nodes=where.num_nodes,
            plugins=[environment(), AtomicCheckpointIO()],
            precision=plan.precision,
            max_steps=plan.steps,
            accumulate_grad_batches=plan.accumulate,
            check_val_every_n_epoch=None,
            val_check_interval=min(plan.validate_every, plan.steps) * plan.accumulate,
            limit_val_batches=1.0 if validate else 0,
            gradient_clip_val=plan.gradient_clip or None,
            callbacks=list(callbacks),
            logger=list(loggers),
            log_every_n_steps=max(1, min(20, plan.steps * plan.accumulate // 20)),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ImportError, ValueError) as error:
        raise VoVNetError(f"trainer={where.strategy} cannot run here: {first_line(error)}") from error


def _strategy(where: TrainerConfig) -> Strategy | str:
    if where.strategy == "fsdp":  # its second version: layer by layer, trained and frozen weights side by side
        ranks = where.devices * where.num_nodes
        return ModelParallelStrategy(ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)
    return {"single": "auto", "ddp": "ddp"}[where.strategy]


def make_loggers(place: Place, version: str) -> list[Logger]:
    """metrics.csv always; others where asked for.

    Raises:
        VoVNetError: the package of a logger is not installed.
    """
    loggers: list[Logger] = [CSVLogger(place.folder, name="", version=version)]
    name = place.logger.name
    try:
        if name == "tensorboard":
            loggers.append(TensorBoardLogger(place.folder, name="", version=version))
        if name == "wandb":
            loggers.append(
                WandbLogger(
                    name=place.folder.name,
                    save_dir=place.folder,
                    project=place.logger.project or "vovnet",
                    entity=place.logger.entity,
                    offline=place.logger.offline,
                )
            )
    except ModuleNotFoundError as error:
        raise VoVNetError(f"logger={name} needs a package that is not installed: pip install '.[{name}]'.") from error
    return loggers
