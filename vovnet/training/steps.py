"""Step-based training by Lightning that is saved now and then and goes on where it stopped, to the same weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from vovnet.errors import VoVNetError, keeps_from_writing
from vovnet.lightning_parts import interruptible
from vovnet.training.callbacks import BestMetrics, StepLog, StepSeed
from vovnet.training.checkpoint_io import read_state
from vovnet.training.step_module import StepModule
from vovnet.training.trainer import Place, Plan, make_loggers, make_trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """What a stage found.

    Attributes:
        metrics: of the best validated step.
        weights: trained weights of that step by their names in the module.
    """

    metrics: dict[str, float]
    weights: dict[str, torch.Tensor]


def fit_steps(
    module: StepModule,
    batches: Any,
    plan: Plan,
    place: Place,
    validation: Any = None,
    own: Sequence[L.Callback] = (),
) -> Fitted:
    """Run through ``batches`` once, from the last saved step on where there is one.

    With ``plan.monitor`` the module holds the best weights afterwards, unless they are spread over ranks; otherwise
    the last.

    Args:
        batches: sized and iterable; its ``state_dict`` is saved with the weights.
        validation: batches for the module's validation step.
        own: callbacks of the caller.

    Raises:
        VoVNetError: the devices or the strategy are not there, or a checkpoint cannot be written.
    """
    saved = place.folder / "steps"
    best = BestMetrics(*plan.monitor) if plan.monitor else None
    keepers = [*([_best(saved, plan)] if plan.monitor else []), NewestStep(saved, plan)]
    callbacks = [StepSeed(plan.seed), *([best] if best else []), *keepers, StepLog(plan), *own]
    resumed = newest_checkpoint(saved, plan.stage)
    version = "log" if resumed is None else f"log-after-{resumed.stem}"  # a logger empties the folder that it takes
    trainer = make_trainer(plan, place, callbacks, make_loggers(place, version), validation is not None)
    if resumed is not None:
        module.check_fits(read_state(resumed))
        log.info("going on from %s", resumed)
    try:
        with interruptible():
            trainer.fit(module, batches, validation, ckpt_path=resumed, weights_only=True)
        _save_end(trainer, saved, plan)
    except OSError as error:
        if not keeps_from_writing(error):
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


def _save_end(trainer: L.Trainer, folder: Path, plan: Plan) -> None:
    """The last step's checkpoint, in place of the one before.

    Saving is done by all ranks together, so rank 0 tells the others what there is: one that looked later by itself
    would see the new file, leave the saving out, and be a collective call behind from then on.
    """
    before = trainer.strategy.broadcast(newest_checkpoint(folder, plan.stage))
    last = folder / f"{plan.stage}-step={plan.steps:06d}.ckpt"
    if before != last:
        trainer.save_checkpoint(last)
        if before is not None and trainer.is_global_zero:
            trainer.strategy.remove_checkpoint(before)


def newest_checkpoint(folder: Path, stage: str) -> Path | None:
    """The last saved step of a stage, or None."""
    return max(folder.glob(f"{stage}-step=*.ckpt"), key=lambda path: path.stem, default=None)


def saved_steps(checkpoint: Path) -> list[int]:
    """Every step at which the stage of a checkpoint was saved, up to it; those that were replaced since, too."""
    callbacks = torch.load(checkpoint, weights_only=True, map_location="meta")["callbacks"]
    return next(list(state.get("saved", ())) for key, state in callbacks.items() if key.startswith(NewestStep.__name__))


class NewestStep(ModelCheckpoint):
    """Keeps the last saved step only, and in it all steps that were saved.

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
        self.saved: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """With the steps that were saved; the one that is being saved is already the best model's."""
        if self.best_model_path and (step := int(Path(self.best_model_path).stem.rpartition("=")[2])) not in self.saved:
            self.saved.append(step)
        return super().state_dict() | {"saved": self.saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """After a stop."""
        super().load_state_dict(state_dict)
        self.saved = list(state_dict.get("saved", ()))  # which older files do not say

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Save every so many steps, unless a validation follows; first what was logged, or a resume would lack it."""
        if trainer.global_step % self.plan.save_every == 0:
            for logger in trainer.loggers:
                logger.save()
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
