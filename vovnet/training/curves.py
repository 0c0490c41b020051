"""Training curves of a run: what each stage logged, over its steps."""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vovnet.report.style import ACTION_COLORS, COLORS, COLUMN, SETTINGS, legend_below, save

if TYPE_CHECKING:
    pass


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
