"""Lightning callbacks of a training: seeds of its steps, the best step, progress."""

import logging
import time
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch

from vovnet.ranks import rank
from vovnet.terminal import clock

if TYPE_CHECKING:
    from vovnet.training.trainer import Plan


log = logging.getLogger(__name__)


class StepSeed(L.Callback):
    """Seeds torch before every batch by seed, batch and rank: dropout is the same after a resume."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Draw the batch's own seed."""
        drawn = np.random.SeedSequence([self.seed, batch_idx, rank()]).generate_state(1, np.uint64)[0]
        seed = int(drawn) % 2**63
        # torch.manual_seed does the same, but for every kind of device that is not in use it keeps the call, with a
        # stack trace, until that device is used: milliseconds a step, and memory that grows.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(seed)


class BestMetrics(L.Callback):
    """Validation metrics of the best validated step so far."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, 1.0 if mode == "max" else -1.0
        self.metrics: dict[str, float] = {}

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep a step's metrics when they are better."""
        now = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if not self.metrics or self.sign * now[self.monitor] > self.sign * self.metrics[self.monitor]:
            self.metrics = now | {"step": float(trainer.global_step)}

    def state_dict(self) -> dict[str, float]:
        """Goes into checkpoints."""
        return dict(self.metrics)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Comes out of them."""
        self.metrics = dict(state_dict)


class StepLog(L.Callback):
    """One line at the start, every so many steps and at the end: losses, accuracies, time left."""

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        self.start: tuple[float, int] | None = None
        self.printed = -1

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Log progress, before the step that follows a validation; remember when this process began."""
        step = trainer.global_step
        if self.start is None:
            self.start, self.printed = (time.monotonic(), step), step
        elif step % self.plan.save_every == 0 and step != self.printed:
            self._print(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """The last line."""
        self._print(trainer)

    def _print(self, trainer: L.Trainer) -> None:
        begun, first = self.start or (time.monotonic(), trainer.global_step)
        done, total = trainer.global_step, self.plan.steps
        self.printed = done
        left = (time.monotonic() - begun) / max(1, done - first) * (total - done)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        shown = " ".join(f"{name}={value:.3f}" for name, value in sorted(metrics.items()))
        log.info("%s: step %d/%d %s, about %s left", self.plan.stage, done, total, shown, clock(left))
