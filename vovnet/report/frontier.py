"""The frontier of a sweep as a figure, and curves of blocks B2 and B4."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import BboxBase

from vovnet.actions import FIXED_POLICIES
from vovnet.analyses.paired_runs import BUT_SEED, one_per_seed
from vovnet.files import atomic_write
from vovnet.metrics.curves import concave_hull
from vovnet.report.labels import baseline_label, usual_settings, vovnet_label
from vovnet.report.style import COLORS, FIXED_MARKERS, plain
from vovnet.results.columns import ResultRow, grouped, looks_once


@dataclass(frozen=True)
class Curve:
    """Points of one method, VoVNet's over lambda, a baseline's over cost."""

    label: str
    rows: tuple[ResultRow, ...]

    @property
    def is_vovnet(self) -> bool:
        """Whether a trained policy decides."""
        return not self.rows[0].baseline_name

    @property
    def sees_branches(self) -> bool:
        """Whether it chooses among the branches of whole looks."""
        return all(sees_branches(row) for row in self.rows)


def sees_branches(row: ResultRow) -> bool:
    """Whether a run chooses among NO, COARSE and FULL as they are: its FULL is neither pruned nor scaled, and it looks
    at most once. Knowing those branches' outcomes says nothing of the others."""
    return row.pruning_ratio is None and row.long_side is None and looks_once(row)


def curves(rows: Sequence[ResultRow]) -> list[Curve]:
    """Rows of one protocol by method: VoVNet first, then the baselines that are no fixed policy."""
    own = [row for row in rows if not row.baseline_name]
    usual = usual_settings(own)
    families: dict[str, list[ResultRow]] = {}
    for row in own:
        families.setdefault(vovnet_label(row, usual), []).append(row)
    found = [
        Curve(label, tuple(sorted(part, key=lambda r: r.lambda_cost or 0)))
        for name in sorted(families)
        for label, part in _by_policy(name, families[name])
    ]
    others: dict[str, list[ResultRow]] = {}
    for row in rows:
        if row.baseline_name and row.baseline_name not in FIXED_POLICIES:
            others.setdefault(baseline_label(row), []).append(row)
    return found + [Curve(name, tuple(sorted(others[name], key=lambda r: r.avg_cost))) for name in sorted(others)]


@dataclass(frozen=True)
class SeedCurve:
    """A method's points, each over the seeds of its training.

    Attributes:
        points: the rows of each, one per seed; a single row where the method was trained once, or not at all.
    """

    label: str
    points: tuple[tuple[ResultRow, ...], ...]

    @property
    def seeds(self) -> int:
        """How many seeds a point has at most."""
        return max(map(len, self.points))

    @property
    def is_vovnet(self) -> bool:
        """Whether a trained policy decides."""
        return not self.points[0][0].baseline_name

    def mean(self, column: str) -> np.ndarray:
        """Of a column over the seeds of each point, [P]."""
        return np.array([np.mean([getattr(row, column) for row in rows]) for rows in self.points])

    def deviation(self, column: str) -> np.ndarray:
        """Sample standard deviation over the seeds of each point, [P]; 0 where there is one."""
        return np.array([np.std([getattr(row, column) for row in p], ddof=int(len(p) > 1)) for p in self.points])


def over_seeds(found: Sequence[Curve]) -> list[SeedCurve]:
    """Curves in their order, those of VoVNet that differ in the seed of their training as one."""
    usual = usual_settings([row for curve in found if curve.is_vovnet for row in curve.rows])
    alike: dict[object, list[Curve]] = {}
    for curve in found:
        row = curve.rows[0]
        key = tuple(getattr(row, name) for name in BUT_SEED) if curve.is_vovnet else curve.label
        alike.setdefault(key, []).append(curve)
    merged = []
    for part in alike.values():
        first = part[0].rows[0]
        if len({curve.rows[0].seed for curve in part}) < len(part) or len(part) == 1:
            merged += [SeedCurve(curve.label, tuple((row,) for row in curve.rows)) for curve in part]
            continue
        prices = grouped([row for curve in part for row in curve.rows], ("lambda_cost",))
        points = sorted(prices, key=lambda rows: rows[0].lambda_cost or 0)
        label = vovnet_label(first, usual | {"seed": first.seed})
        merged.append(SeedCurve(label, tuple(tuple(one_per_seed(rows)) for rows in points)))
    return merged


def prominent(curves: Sequence[Curve], most: int) -> list[Curve]:
    """Curves for a figure that can name ``most``: the baselines, and VoVNet as it is usually set before its ablations.

    The others stand in the tables.
    """
    own = sorted((c for c in curves if c.is_vovnet), key=lambda c: c.label.count("="))  # of an ablation: what differs
    kept = own[: max(1, most - (len(curves) - len(own)))]
    return [curve for curve in curves if not curve.is_vovnet or curve in kept]


def _by_policy(label: str, rows: Sequence[ResultRow]) -> list[tuple[str, list[ResultRow]]]:
    """One curve, or one for each policy file where several answer at the same lambda."""
    if len({row.lambda_cost for row in rows}) == len(rows):
        return [(label, list(rows))]
    files = sorted({row.checkpoint or "" for row in rows})
    parts = [[row for row in rows if (row.checkpoint or "") == file] for file in files]
    names = [Path(file).parent.name for file in files]
    if len(set(names)) < len(names):  # jobs of two sweeps may be named by the same hash
        folders = [Path(file).absolute().parent for file in files]
        names = [os.path.relpath(folder, os.path.commonpath(folders)) for folder in folders]
    return [(f"{label}, {name}", part) for name, part in zip(names, parts, strict=True)]


def fixed_rows(rows: Sequence[ResultRow]) -> dict[str, ResultRow]:
    """The fixed policies among some rows, by name."""
    return {row.baseline_name: row for row in rows if row.baseline_name in FIXED_POLICIES}


def interval_arms(rows: Sequence[ResultRow]) -> tuple[list[float], list[float]]:
    """Length of the accuracy interval's arms below and above each point."""
    low = [max(0.0, r.accuracy - r.accuracy_ci_low) for r in rows]
    return low, [max(0.0, r.accuracy_ci_high - r.accuracy) for r in rows]


matplotlib.use("Agg")


PALETTE = COLORS[:6]  # black is the fixed policies'
PLACES = ((-4, 5), (4, -10), (-4, 13), (4, -18), (-4, 21))  # of a label, in points from its point


def plot_frontier(rows: Sequence[ResultRow], path: Path) -> None:
    """One panel per data set: VoVNet over lambda, the fixed policies, and random mixing between them."""
    datasets = sorted({row.shown_dataset for row in rows})
    figure, axes = plt.subplots(1, len(datasets), figsize=(5.2 * len(datasets), 4.0), squeeze=False)
    labels: list[Annotation] = []
    for axis, name in zip(axes[0], datasets, strict=True):
        labels += _panel(axis, [row for row in rows if row.shown_dataset == name])
        axis.set_title(plain(name), fontsize=10)
    figure.tight_layout()
    _set_apart(labels)
    atomic_write(path, lambda temporary: figure.savefig(temporary, dpi=160, format="png"))
    plt.close(figure)


def _panel(axis: Axes, rows: Sequence[ResultRow]) -> list[Annotation]:
    """Draw a panel; returns the labels of its lambdas."""
    found = curves(rows)
    labels = []
    for color, curve in zip(itertools.cycle(PALETTE), [c for c in found if c.is_vovnet], strict=False):
        labels += _curve(axis, curve.rows, color, f"{curve.label} (labels: \u03bb)")
    fixed = fixed_rows(rows)
    for name, row in sorted(fixed.items()):
        axis.errorbar(
            [row.avg_cost],
            [row.accuracy],
            yerr=interval_arms([row]),
            fmt=FIXED_MARKERS[name],
            color="black",
            ms=6,
            capsize=2,
            label=name,
        )
    for color, curve in zip(itertools.cycle(reversed(PALETTE)), [c for c in found if not c.is_vovnet], strict=False):
        costs, scores = [r.avg_cost for r in curve.rows], [r.accuracy for r in curve.rows]
        axis.plot(costs, scores, color=color, marker="D", ms=3.5, lw=1, ls=":", label=curve.label)
    mixing = sorted((row.avg_cost, row.accuracy) for row in fixed.values())
    if len(mixing) > 1:
        hull = concave_hull(mixing)
        places = [*hull.costs, mixing[-1][0]]  # who may spend more need not
        axis.plot(places, hull.at(np.array(places)), ls="--", lw=1, color="grey", label="random mixing", zorder=1)
    axis.set_xlabel("average cost (share of a maximal FULL image's tokens)")
    axis.set_ylabel("accuracy")
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, loc="lower right")
    return labels


def _curve(axis: Axes, rows: Sequence[ResultRow], color: str, label: str) -> list[Annotation]:
    costs, scores = [r.avg_cost for r in rows], [r.accuracy for r in rows]
    axis.errorbar(
        costs, scores, yerr=interval_arms(rows), color=color, marker="o", ms=4, lw=1.4, capsize=2, label=label
    )
    labels = []
    for cluster in _clusters(rows):
        first, last = cluster[0], cluster[-1]
        text = f"{first.lambda_cost:g}" if len(cluster) == 1 else f"{first.lambda_cost:g}\u2013{last.lambda_cost:g}"
        place = (first.avg_cost, max(row.accuracy for row in cluster))
        labels.append(axis.annotate(text, place, PLACES[0], textcoords="offset points", fontsize=7, color=color))
    return labels


def _set_apart(labels: Sequence[Annotation]) -> None:
    """Put each label in its panel where it covers no other one: beside its point, else below it, else farther off."""
    taken: list[BboxBase] = []
    for label in labels:
        assert label.axes is not None
        panel = label.axes.get_window_extent()
        for x, y in PLACES:
            label.set_position((x, y))
            label.set_horizontalalignment("right" if x < 0 else "left")
            box = label.get_window_extent()
            if panel.x0 <= box.x0 and box.x1 <= panel.x1 and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _clusters(rows: Sequence[ResultRow]) -> list[list[ResultRow]]:
    """Neighbours over lambda that the eye cannot tell apart; they share one label."""
    clusters: list[list[ResultRow]] = []
    for row in rows:
        if clusters and abs(clusters[-1][0].avg_cost - row.avg_cost) < 0.03:
            clusters[-1].append(row)
        else:
            clusters.append([row])
    return clusters
