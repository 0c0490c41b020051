"""Which rows are points of one curve, and what the curve is called."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vovnet.actions import FIXED_POLICIES
from vovnet.report.labels import baseline_label, usual_settings, vovnet_label
from vovnet.results.columns import ResultRow, looks_once


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
