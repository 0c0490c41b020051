"""Step-based training by Lightning that is saved now and then and goes on where it stopped, to the same weights."""

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from vovnet.errors import VoVNetError
from vovnet.ranks import world_size
from vovnet.schema import LoggerConfig, Precision, TrainerConfig
from vovnet.training.callbacks import BestMetrics, StepLog, StepSeed

log = logging.getLogger(__name__)

SINGLE = TrainerConfig(strategy="single", devices=1, num_nodes=1)
CSV_ONLY = LoggerConfig(name="csv", project=None, entity=None, offline=False)
STRATEGIES = {"single": "auto", "ddp": "ddp", "fsdp": "fsdp", "deepspeed": "deepspeed_stage_2"}


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


def fit_steps(
    module: L.LightningModule, batches: Any, plan: Plan, place: Place, validation: Any = None
) -> dict[str, float]:
    """Run through ``batches`` once, from the last saved step on where there is one; returns the best metrics.

    With ``plan.monitor`` the module holds the best weights afterwards, otherwise the last.

    Args:
        batches: sized and iterable; its ``state_dict`` is saved with the weights.
        validation: batches for the module's validation step.

    Raises:
        VoVNetError: the devices or the strategy are not there, or a checkpoint cannot be written.
    """
    saved = place.folder / "steps"
    best = BestMetrics(*plan.monitor) if plan.monitor else None
    keepers = [_newest(saved, plan), *([_best(saved, plan)] if plan.monitor else [])]
    callbacks = [StepSeed(plan.seed), *([best] if best else []), *keepers, StepLog(plan)]
    resumed = newest_checkpoint(saved, plan.stage)
    version = "log" if resumed is None else f"log-after-{resumed.stem}"  # a logger empties the folder that it takes
    trainer = _trainer(plan, place, callbacks, _loggers(place, version), validation is not None)
    if resumed is not None:
        log.info("going on from %s", resumed)
    try:
        trainer.fit(module, batches, validation, ckpt_path=resumed, weights_only=True)
        _save_end(trainer, saved, plan)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise VoVNetError(
            f"a checkpoint cannot be written under {saved} ({error.strerror}); free space and start the same command "
            "again: it goes on from the last one."
        ) from error
    if best is None:
        return {}
    path = Path(keepers[1].best_model_path)
    state = torch.load(path, weights_only=True, map_location=module.device)["state_dict"]
    module.load_state_dict(state, strict=False)
    return best.metrics


def _save_end(trainer: L.Trainer, folder: Path, plan: Plan) -> None:
    """The last step's checkpoint, in place of the one before."""
    before, last = newest_checkpoint(folder, plan.stage), folder / f"{plan.stage}-step={plan.steps:06d}.ckpt"
    if before != last:
        trainer.save_checkpoint(last)
        if before is not None and trainer.is_global_zero:
            trainer.strategy.remove_checkpoint(before)


def newest_checkpoint(folder: Path, stage: str) -> Path | None:
    """The last saved step of a stage, or None."""
    return max(folder.glob(f"{stage}-step=*.ckpt"), key=lambda path: path.stem, default=None)


def _newest(folder: Path, plan: Plan) -> ModelCheckpoint:
    """Keeps the last saved step only."""
    return ModelCheckpoint(
        folder,
        filename=f"{plan.stage}-{{step:06d}}",
        monitor="step",
        mode="max",
        save_top_k=1,
        every_n_train_steps=plan.save_every,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def _best(folder: Path, plan: Plan) -> ModelCheckpoint:
    """Keeps the best validated step."""
    monitor, mode = plan.monitor or ("", "min")
    return ModelCheckpoint(
        folder,
        filename=f"{plan.stage}-best-{{step:06d}}",
        monitor=monitor,
        mode=mode,
        save_top_k=1,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )


def _trainer(
    plan: Plan, place: Place, callbacks: Sequence[L.Callback], loggers: Sequence[Logger], validate: bool
) -> L.Trainer:
    where = place.trainer
    if where.devices * where.num_nodes != world_size():
        raise VoVNetError(
            f"trainer.devices={where.devices} on trainer.num_nodes={where.num_nodes} needs "
            f"{where.devices * where.num_nodes} processes, but {world_size()} run; start as many "
            "(launcher.tasks_per_node, torchrun --nproc-per-node) or set trainer.devices."
        )
    cuda = place.device.type == "cuda"
    single = [place.device.index or 0] if cuda else 1
    try:
        return L.Trainer(
            accelerator="gpu" if cuda else "cpu",
            strategy=STRATEGIES[where.strategy],
            devices=single if where.strategy == "single" else where.devices,
            num_nodes=where.num_nodes,
            plugins=[_environment()],
            precision=plan.precision,
            max_steps=plan.steps,
            accumulate_grad_batches=plan.accumulate,
            check_val_every_n_epoch=None,
            val_check_interval=min(plan.validate_every, plan.steps) * plan.accumulate,
            limit_val_batches=1.0 if validate else 0,
            gradient_clip_val=plan.gradient_clip or None,
            callbacks=list(callbacks),
            logger=list(loggers),
            log_every_n_steps=min(20, plan.steps),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ImportError, ValueError) as error:
        sentence = str(error).strip().split("\n")[0]
        raise VoVNetError(f"trainer={where.strategy} cannot run here: {sentence}") from error


class StartedRanks(LightningEnvironment):
    """This process alone, or ranks that ``vovnet.training.launch`` has started."""

    def teardown(self) -> None:
        """Lightning's own forgets the number of ranks, which the next stage has to know."""


def _environment() -> ClusterEnvironment:
    """Who started the ranks. Requeueing is submitit's alone: two owners would requeue twice or not at all."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "LOCAL_RANK" not in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return SLURMEnvironment(auto_requeue=False)
    return StartedRanks()


def _loggers(place: Place, version: str) -> list[Logger]:
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
