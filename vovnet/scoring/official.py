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
    rows, units = _groups(samples, score) if copies else (np.arange(len(samples)), score.astype(np.float64))
    circular = float(units.sum() / len(units)) if copies else None
    return OfficialScores(
        name="circular_accuracy" if copies else metric,
        value=vanilla if circular is None else circular,
        vanilla=vanilla,
        circular=circular,
        unparsed_rate=1.0 - float(parsed.mean()),
        categories=_means(units, [samples[row].category for row in rows.tolist()]),
        supercategories=_means(units, [samples[row].supercategory for row in rows.tolist()]),
        samples=len(samples),
    )


def _groups(samples: Sequence[Sample], score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each group, and 1 where all its rows are right."""
    first: dict[str, int] = {}
    units: dict[int, float] = {}
    for row, sample in enumerate(samples):
        unit = first.setdefault(sample.group, row)
        units[unit] = min(units.get(unit, 1.0), float(score[row] == 1.0))
    return np.array(list(units)), np.array(list(units.values()))


def _means(units: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Mean over the units of each name; empty names do not count."""
    numbers: dict[str, int] = {}
    places = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    totals, counts = np.bincount(places, weights=units), np.bincount(places)
    return {name: float(totals[place] / counts[place]) for name, place in sorted(numbers.items()) if name}
