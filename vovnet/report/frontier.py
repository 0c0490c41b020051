"""Rows of one protocol as curves in the plane of accuracy and cost."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from vovnet.actions import FIXED_POLICIES
from vovnet.analyses.paired_runs import BUT_SEED, one_per_seed
from vovnet.metrics.curves import concave_hull
from vovnet.report.labels import baseline_label, usual_settings, vovnet_label
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
        labels: of the curves that it is made of.
        points: the rows of each, one per seed; a single row where the method was trained once, or not at all.
    """

    label: str
    labels: tuple[str, ...]
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
            merged += [SeedCurve(curve.label, (curve.label,), tuple((row,) for row in curve.rows)) for curve in part]
            continue
        prices = grouped([row for curve in part for row in curve.rows], ("lambda_cost",))
        points = sorted(prices, key=lambda rows: rows[0].lambda_cost or 0)
        label = vovnet_label(first, usual | {"seed": first.seed})
        merged.append(
            SeedCurve(label, tuple(curve.label for curve in part), tuple(tuple(one_per_seed(rows)) for rows in points))
        )
    return merged


AnyCurve = TypeVar("AnyCurve", bound=Curve | SeedCurve)


def prominent(curves: Sequence[AnyCurve], most: int) -> list[AnyCurve]:
    """Curves for a figure that can name ``most``, in their order: at first VoVNet as it is usually set, then the
    baselines, then ablations. The others are in the tables, and in figures for an appendix."""
    own = sorted((c for c in curves if c.is_vovnet), key=lambda c: c.label.count("="))  # of an ablation: what differs
    others = [curve for curve in curves if not curve.is_vovnet]
    kept = {id(curve) for curve in [*own[:2], *others, *own[2:]][:most]}
    return [curve for curve in curves if id(curve) in kept]


def first_seeds(curves: Sequence[Curve]) -> list[Curve]:
    """Of curves that differ in the seed of their training alone, the first."""
    kept = {merged.labels[0]: merged.label for merged in over_seeds(curves)}
    return [replace(curve, label=kept[curve.label]) for curve in curves if curve.label in kept]


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


def mixing_line(fixed: Mapping[str, ResultRow]) -> list[tuple[float, float]]:
    """Costs and accuracies that random mixing of the fixed policies reaches, up to the cost of the most expensive one:
    who may spend more need not. Empty where there are fewer than two of them."""
    points = sorted((row.avg_cost, row.accuracy) for row in fixed.values())
    if len(points) < 2:
        return []
    hull = concave_hull(points)
    costs = np.unique([*hull.costs, points[-1][0]])
    return list(zip(costs.tolist(), hull.at(costs).tolist(), strict=True))


def interval_arms(rows: Sequence[ResultRow]) -> tuple[list[float], list[float]]:
    """Length of the accuracy interval's arms below and above each point."""
    low = [max(0.0, r.accuracy - r.accuracy_ci_low) for r in rows]
    return low, [max(0.0, r.accuracy_ci_high - r.accuracy) for r in rows]
