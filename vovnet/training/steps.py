"""Step-based training by Lightning that is saved now and then and goes on where it stopped, to the same weights."""

import errno
import logging
import os
import pickle
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
from lightning.pytorch.strategies.model_parallel import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy

from vovnet.errors import VoVNetError
from vovnet.ranks import world_size
from vovnet.schema import LoggerConfig, Precision, TrainerConfig
from vovnet.training.callbacks import BestMetrics, StepLog, StepSeed
from vovnet.training.step_module import StepModule

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Fitted:
    """What a stage found.

    Attributes:
        metrics: of the best validated step.
        weights: trained weights of that step by their names in the module.
    """

    metrics: dict[str, float]
    weights: dict[str, torch.Tensor]


def fit_steps(module: StepModule, batches: Any, plan: Plan, place: Place, validation: Any = None) -> Fitted:
    """Run through ``batches`` once, from the last saved step on where there is one.

    With ``plan.monitor`` the module holds the best weights afterwards, unless they are spread over ranks; otherwise
    the last.

    Args:
        batches: sized and iterable; its ``state_dict`` is saved with the weights.
        validation: batches for the module's validation step.

    Raises:
        VoVNetError: the devices or the strategy are not there, or a checkpoint cannot be written.
    """
    saved = place.folder / "steps"
    best = BestMetrics(*plan.monitor) if plan.monitor else None
    keepers = [*([_best(saved, plan)] if plan.monitor else []), NewestStep(saved, plan)]
    callbacks = [StepSeed(plan.seed), *([best] if best else []), *keepers, StepLog(plan)]
    resumed = newest_checkpoint(saved, plan.stage)
    version = "log" if resumed is None else f"log-after-{resumed.stem}"  # a logger empties the folder that it takes
    trainer = _trainer(plan, place, callbacks, _loggers(place, version), validation is not None)
    if resumed is not None:
        _check(module, resumed)
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
        return Fitted({}, {})
    state = torch.load(keepers[0].best_model_path, weights_only=True, map_location="cpu")["state_dict"]
    if not module.is_sharded():
        module.load_state_dict(state, strict=False)
    return Fitted(best.metrics, state)


def _check(module: StepModule, path: Path) -> None:
    """Refuse a file that is no checkpoint of this module, or that holds more than tensors and plain values."""
    try:
        content = torch.load(path, weights_only=True, map_location="meta")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().split("\n")[0]
        raise VoVNetError(
            f"{path} cannot be read ({reason}); remove it, and the same command goes on from the one before."
        ) from error
    module.check_fits(content["state_dict"])


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


class NewestStep(ModelCheckpoint):
    """Keeps the last saved step only.

    Lightning saves before it validates, and a run that is killed in between would go on without that validation and
    might keep other weights as its best. So where both are due, this saves after validating.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        super().__init__(
            folder,
            filename=f"{plan.stage}-{{step:06d}}",
            monitor="step",
            mode="max",
            save_top_k=1,
            every_n_train_steps=plan.save_every,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )
        self.plan = plan

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save every so many steps, unless a validation follows."""
        if not self._validates(trainer):
            super().on_train_batch_end(trainer, *args, **kwargs)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save what was held back."""
        if trainer.global_step % self.plan.save_every == 0:
            super().on_train_batch_end(trainer, module, None, None, 0)

    def _validates(self, trainer: L.Trainer) -> bool:
        due = trainer.global_step % min(self.plan.validate_every, self.plan.steps) == 0
        return bool(trainer.enable_validation) and due


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
            strategy=_strategy(where),
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
            log_every_n_steps=max(1, min(20, plan.steps * plan.accumulate // 20)),
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


def _strategy(where: TrainerConfig) -> Strategy | str:
    if where.strategy == "fsdp":  # its second version: layer by layer, trained and frozen weights side by side
        ranks = where.devices * where.num_nodes
        return ModelParallelStrategy(ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)
    return {"single": "auto", "ddp": "ddp", "deepspeed": "deepspeed_stage_2"}[where.strategy]


def _environment() -> ClusterEnvironment:
    """Who started the ranks. Requeueing is submitit's alone: two owners would requeue twice or not at all."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "LOCAL_RANK" not in os.environ and world_size() > 1:
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
