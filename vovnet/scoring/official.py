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
        circular: share of questions all of whose rotations are right; None where no question and all its rotations were
            scored. ``circles``: how many questions that are.
        unparsed_rate: share of predictions from which no answer could be read.
        categories, supercategories: the headline metric in each.
        samples: rows that were scored.
    """

    name: str
    value: float
    vanilla: float
    circular: float | None
    circles: int | None
    unparsed_rate: float
    categories: Mapping[str, float]
    supercategories: Mapping[str, float]
    samples: int


def aggregate(samples: Sequence[Sample], score: np.ndarray, parsed: np.ndarray, metric: str) -> OfficialScores:
    """Aggregate scores in [0, 1] of samples, [N].

    MMBench: vanilla counts base rows; the circular score counts a question when all its rotations are right
    (VLMEvalKit, ``mcq_circular_eval``), and stands at the head where there are copies. Files hold the copies after all
    questions, so of the first rows many questions lack theirs: these say nothing of the circular score. MMMU and
    TextVQA: the mean over samples.

    Raises:
        ValueError: no sample.
    """
    if not samples:
        raise ValueError("no sample was scored")
    base = np.array([row for row, sample in enumerate(samples) if not sample.is_copy] or range(len(samples)))
    vanilla = float(score[base].mean())
    rows, units = _circles(samples, score)
    circular = float(units.mean()) if len(units) else None
    if circular is None:
        rows, units = base, score[base].astype(np.float64)
    return OfficialScores(
        name=metric if circular is None else "circular_accuracy",
        value=vanilla if circular is None else circular,
        vanilla=vanilla,
        circular=circular,
        circles=None if circular is None else len(units),
        unparsed_rate=1.0 - float(parsed.mean()),
        categories=_means(units, [samples[row].category for row in rows.tolist()]),
        supercategories=_means(units, [samples[row].supercategory for row in rows.tolist()]),
        samples=len(samples),
    )


def _circles(samples: Sequence[Sample], score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each question all of whose rotations are here, and 1 where all are right; none without copies."""
    circles: dict[str, list[int]] = {}
    for row, sample in enumerate(samples):
        if sample.circle:
            circles.setdefault(sample.circle, []).append(row)
    whole = [rows for rows in circles.values() if len(rows) == samples[rows[0]].rotations]
    if not any(samples[row].is_copy for rows in whole for row in rows):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    return np.array([rows[0] for rows in whole]), np.array([float((score[rows] == 1.0).all()) for rows in whole])


def _means(units: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Mean over the units of each name; empty names do not count."""
    numbers: dict[str, int] = {}
    places = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    totals, counts = np.bincount(places, weights=units), np.bincount(places)
    return {name: float(totals[place] / counts[place]) for name, place in sorted(numbers.items()) if name}
