"""Step-based training that is saved now and then and goes on where it stopped."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from vovnet.progress import clock
from vovnet.schema import TinyBackboneTraining

log = logging.getLogger(__name__)


def fit_steps(
    module: L.LightningModule,
    batches: Any,
    recipe: TinyBackboneTraining,
    folder: Path,
    device: torch.device,
    validation: Any = None,
) -> None:
    """Run through ``batches`` once; a run that was stopped goes on from its last saved step.

    Args:
        batches: sized and iterable; where it has a ``state_dict``, its position is saved with the weights.
        validation: batches for the module's validation step, every ``save_every`` steps.
    """
    steps, last = len(batches), folder / "last.ckpt"
    trainer = L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_steps=steps,
        check_val_every_n_epoch=None,
        val_check_interval=min(recipe.save_every, steps),
        limit_val_batches=0 if validation is None else 1.0,
        gradient_clip_val=recipe.gradient_clip,
        callbacks=[
            ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=recipe.save_every),
            StepLog(recipe.save_every),
        ],
        logger=CSVLogger(folder, name="", version="log"),
        log_every_n_steps=min(50, steps),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches, validation, ckpt_path=last if last.exists() else None, weights_only=True)


class StepLoader:
    """Batches of a source whose batch is a function of the step; Lightning stores and restores its position.

    Args:
        source: has a length and gives the batch of a step by ``source[step]``.
        workers: processes that make batches ahead; 0 makes them between the steps.
    """

    def __init__(self, source: Any, workers: int) -> None:
        self.source, self.workers = source, workers
        self.position = 0

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        """Batches from the current position on."""
        if self.workers:
            # Many small tensors a batch: handed over as files, else as open descriptors, of which there are few.
            torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
        ahead: DataLoader[Any] = DataLoader(
            self.source,
            batch_size=None,
            sampler=range(self.position, len(self)),
            num_workers=self.workers,
            collate_fn=_as_it_is,
        )
        for batch in ahead:
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """How many batches have been handed out."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after that many."""
        self.position = int(state["position"])


def _as_it_is(batch: Any) -> Any:
    return batch


class StepLog(L.Callback):
    """One line every so many steps: losses, accuracies, time left."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.start: tuple[float, int] | None = None

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Say how it stands, before the step that follows a validation; remember when this process began."""
        step = trainer.global_step
        if self.start is None:
            self.start = (time.monotonic(), step)
        elif step % self.every == 0:
            self._print(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The last line."""
        self._print(trainer)

    def _print(self, trainer: L.Trainer) -> None:
        begun, first = self.start or (time.monotonic(), trainer.global_step)
        done, total = trainer.global_step, int(trainer.max_steps)
        left = (time.monotonic() - begun) / max(1, done - first) * (total - done)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        shown = " ".join(f"{name}={value:.3f}" for name, value in sorted(metrics.items()))
        log.info("step %d/%d %s, about %s left", done, total, shown, clock(left))
