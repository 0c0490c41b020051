"""Lightning callbacks of a training: progress, the best step, curves; and its checkpoint files."""

import csv
import io
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from vovnet.ranks import rank
from vovnet.report.style import ACTION_COLORS, COLORS, COLUMN, SETTINGS, legend_below, save
from vovnet.terminal import clock

if TYPE_CHECKING:
    from vovnet.training.trainer import Plan

Series = dict[str, list[tuple[int, float]]]  # metric -> (step, value)
PANELS = {
    "loss": ("train/loss", "val/loss"),
    "validation": ("val/acc", "val/utility", "val/cost"),
    "share of questions": ("val/rate_no", "val/rate_coarse", "val/rate_full"),
}
LOG = re.compile(r"log(?:-after-.*step=(\d+))?$")


def read_metrics(folder: Path) -> Series:
    """All metrics that a stage logged, also over stops: what was logged after the step of a resume is replaced."""
    logs = sorted(
        (int(match[1] or 0), path / "metrics.csv")
        for path in folder.glob("log*")
        if (match := LOG.match(path.name)) and (path / "metrics.csv").is_file()
    )
    found: Series = {}
    for begun, path in logs:
        for name in found:
            found[name] = [point for point in found[name] if point[0] < begun]
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line
        for line in csv.DictReader(io.StringIO(whole, newline="")):
            for name, value in line.items():
                if value and name not in ("step", "epoch"):
                    found.setdefault(name, []).append((int(line["step"]), float(value)))
    return found


def draw_training(folder: Path) -> list[Path]:
    """Write ``curves.png`` and ``curves.pdf``: a row for each stage that has logged something."""
    stages = {"stage 1": read_metrics(folder / "stage1"), "stage 2": read_metrics(folder)}
    stages = {name: series for name, series in stages.items() if series}
    if not stages:
        return []
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(
            len(stages), len(PANELS), figsize=(2 * COLUMN, 2.1 * len(stages)), layout="constrained", squeeze=False
        )
        for row, (stage, series) in zip(axes, stages.items(), strict=True):
            for axis, (label, names) in zip(row, PANELS.items(), strict=True):
                _panel(axis, series, names)
                axis.set(title=stage, xlabel="optimiser step", ylabel=label)
        seen = {label: h for axis in axes.flat for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        legend_below(axes.flat[0], columns=4, shown=seen)
    return save(figure, folder / "curves")


def _panel(axis: Axes, series: Mapping[str, list[tuple[int, float]]], names: tuple[str, ...]) -> None:
    for name, style in zip(names, ("-", "--", ":"), strict=False):
        if points := series.get(name):
            color = ACTION_COLORS.get(
                name.rpartition("rate_")[2], COLORS[sorted(sum(PANELS.values(), ())).index(name) % 8]
            )
            axis.plot(
                *zip(*points, strict=True), style, color=color, label=name, marker="." if len(points) < 3 else None
            )
    if not axis.lines:
        axis.text(0.5, 0.5, "one action only", transform=axis.transAxes, ha="center", fontsize=7)


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
