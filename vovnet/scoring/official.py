"""What a benchmark's own evaluator would say of a split, from one score per sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vovnet.data import Sample


@dataclass(frozen=True)
class OfficialScores:
    """Aggregates of one set.

    Attributes:
        name, value: the headline metric.
        vanilla: mean over rows that are no option-shifted copies.
        circular: share of groups all of whose rotations are right; None where there are no copies.
        unparsed_rate: share of predictions from which no answer could be read.
        categories, supercategories: the headline metric in each.
        samples: rows that were scored.
    """

    name: str
    value: float
    vanilla: float
    circular: float | None
    unparsed_rate: float
    categories: Mapping[str, float]
    supercategories: Mapping[str, float]
    samples: int


def aggregate(samples: Sequence[Sample], score: np.ndarray, parsed: np.ndarray, metric: str) -> OfficialScores:
    """Aggregate scores in [0, 1] of samples, [N].

    MMBench: vanilla counts base rows; the circular score counts a group when all its rows are right
    (VLMEvalKit, ``mcq_circular_eval``), and stands at the head where there are copies. MMMU and TextVQA:
    the mean over samples.

    Raises:
        ValueError: no sample.
    """
    if not samples:
        raise ValueError("no sample was scored")
    base = [row for row, sample in enumerate(samples) if not sample.is_copy]
    copies = len(base) < len(samples)
    vanilla = float(score[base or slice(None)].mean())
    units = _groups(samples, score) if copies else {row: float(value) for row, value in enumerate(score)}
    circular = sum(units.values()) / len(units) if copies else None
    return OfficialScores(
        name="circular_accuracy" if copies else metric,
        value=vanilla if circular is None else circular,
        vanilla=vanilla,
        circular=circular,
        unparsed_rate=1.0 - float(parsed.mean()),
        categories=_means(units, [sample.category for sample in samples]),
        supercategories=_means(units, [sample.supercategory for sample in samples]),
        samples=len(samples),
    )


def _groups(samples: Sequence[Sample], score: np.ndarray) -> dict[int, float]:
    """1 for each group all of whose rows are right, under its first row."""
    first: dict[str, int] = {}
    units: dict[int, float] = {}
    for row, sample in enumerate(samples):
        unit = first.setdefault(sample.group, row)
        units[unit] = min(units.get(unit, 1.0), float(score[row] == 1.0))
    return units


def _means(units: Mapping[int, float], names: Sequence[str]) -> dict[str, float]:
    """Mean over the units of each name; empty names do not count."""
    found: dict[str, list[float]] = {}
    for row, value in units.items():
        if names[row]:
            found.setdefault(names[row], []).append(value)
    return {name: sum(values) / len(values) for name, values in sorted(found.items())}
