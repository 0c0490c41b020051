"""What a benchmark's own evaluator would say of a split, from one score per sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    metrics: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerSheet:
    """What of a set's samples its evaluator counts; the same for everything that answers them.

    Attributes:
        metric: name of the headline metric.
        rows: samples, N.
        base: rows that are no option-shifted copies.
        circles: rows of each question all of whose rotations are here; none where there are no copies.
        categories, supercategories: names, and for each unit of the headline metric its name's place among them.
    """

    metric: str
    rows: int
    base: np.ndarray
    circles: Sequence[np.ndarray]
    categories: "_Named"
    supercategories: "_Named"

    @classmethod
    def of(cls, samples: Sequence[Sample], metric: str) -> "AnswerSheet":
        """Read it off samples.

        Raises:
            ValueError: no sample.
        """
        if not samples:
            raise ValueError("no sample was scored")
        base = np.array([row for row, sample in enumerate(samples) if not sample.is_copy] or range(len(samples)))
        circles = _circles(samples)
        units = [samples[row] for row in (base.tolist() if not circles else [rows[0] for rows in circles])]
        categories, supercategories = ([one.category for one in units], [one.supercategory for one in units])
        return cls(metric, len(samples), base, circles, _Named.of(categories), _Named.of(supercategories))

    def scores(self, score: np.ndarray, parsed: np.ndarray) -> OfficialScores:
        """Aggregate scores in [0, 1] of the samples, [N]; see ``aggregate``."""
        units = score[self.base].astype(np.float64)  # float32 would add digits of its own
        vanilla = float(units.mean())
        circular = None
        if self.circles:
            units = np.array([float((score[rows] == 1.0).all()) for rows in self.circles])
            circular = float(units.mean())
        return OfficialScores(
            name=self.metric if circular is None else "circular_accuracy",
            value=vanilla if circular is None else circular,
            vanilla=vanilla,
            circular=circular,
            circles=None if circular is None else len(units),
            unparsed_rate=float((np.asarray(parsed) == 0).mean()),
            categories=self.categories.means(units),
            supercategories=self.supercategories.means(units),
            samples=self.rows,
        )


def aggregate(samples: Sequence[Sample], score: np.ndarray, parsed: np.ndarray, metric: str) -> OfficialScores:
    """Aggregate scores in [0, 1] of samples, [N].

    MMBench: vanilla counts base rows; the circular score counts a question when all its rotations are right
    (VLMEvalKit, ``mcq_circular_eval``), and stands at the head where there are copies. Files hold the copies after all
    questions, so of the first rows many questions lack theirs: these say nothing of the circular score. MMMU and
    TextVQA: the mean over samples.

    Raises:
        ValueError: no sample.
    """
    return AnswerSheet.of(samples, metric).scores(score, parsed)


def _circles(samples: Sequence[Sample]) -> list[np.ndarray]:
    """Rows of each question all of whose rotations are here; none without copies."""
    circles: dict[str, list[int]] = {}
    for row, sample in enumerate(samples):
        if sample.circle:
            circles.setdefault(sample.circle, []).append(row)
    whole = [rows for rows in circles.values() if len(rows) == samples[rows[0]].rotations]
    if not any(samples[row].is_copy for rows in whole for row in rows):
        return []
    return [np.array(rows) for rows in whole]


@dataclass(frozen=True)
class _Named:
    """Names in order of appearance, and each unit's place among them."""

    names: Sequence[str]
    places: np.ndarray

    @classmethod
    def of(cls, units: Sequence[str]) -> "_Named":
        numbers: dict[str, int] = {}
        places = np.array([numbers.setdefault(name, len(numbers)) for name in units])
        return cls(list(numbers), places)

    def means(self, units: np.ndarray) -> dict[str, float]:
        """Mean over the units of each name; empty names do not count."""
        means = np.bincount(self.places, weights=units) / np.bincount(self.places)
        return {name: mean for name, mean in sorted(zip(self.names, means.tolist(), strict=True)) if name}
