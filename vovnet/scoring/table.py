"""Official scores of a split, from one score per sample: a torchmetrics state that adds up over ranks.

The state holds a cell per sample of the split. A sample that a distributed sampler hands out twice fills
its cell twice with the same number, so nothing is counted double, and scores of whole groups (MMBench's
circular score) are right however the rows were spread over ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vovnet.data import Sample


@dataclass(frozen=True)
class OfficialScores:
    """What a benchmark's own evaluator would say.

    Attributes:
        name, value: the headline metric.
        vanilla: mean over rows that are no option-shifted copies.
        circular: share of groups all of whose rotations are right; None where there are no copies.
        unparsed_rate: predictions from which no answer could be read.
        categories, supercategories: the headline metric in each.
        samples: rows that were scored.
    """

    name: str
    value: float
    vanilla: float
    circular: float | None
    unparsed_rate: float
    categories: dict[str, float]
    supercategories: dict[str, float]
    samples: int


class ScoreTable(Metric):
    """Scores by sample.

    Args:
        samples: the split, in order; indices of ``update`` count along it.
        metric: name of a row's score.
    """

    score: Tensor
    parsed: Tensor
    seen: Tensor
    full_state_update = False

    def __init__(self, samples: Sequence[Sample], metric: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.samples, self.metric = samples, metric
        for name in ("score", "parsed", "seen"):
            self.add_state(name, torch.zeros(len(samples), dtype=torch.float64), dist_reduce_fx="max")

    def update(self, indices: Tensor, scores: Tensor, parsed: Tensor) -> None:
        """Fill cells. All arguments [B]; scores in [0, 1], parsed true where an answer could be read."""
        place = indices.to(self.score.device)
        self.score[place] = scores.to(self.score)
        self.parsed[place] = parsed.to(self.parsed)
        self.seen[place] = 1.0

    def compute(self) -> OfficialScores:
        """Aggregate what was seen.

        Raises:
            ValueError: nothing was seen.
        """
        rows = [i for i, seen in enumerate(self.seen.tolist()) if seen]
        if not rows:
            raise ValueError("no sample was scored")
        score, parsed = self.score.tolist(), self.parsed.tolist()
        copies = any(self.samples[i].is_copy for i in rows)
        base = [i for i in rows if not self.samples[i].is_copy] or rows
        units = self._groups(rows, score) if copies else {i: score[i] for i in base}
        vanilla = _mean([score[i] for i in base])
        circular = _mean(list(units.values())) if copies else None
        return OfficialScores(
            name="circular_accuracy" if copies else self.metric,
            value=vanilla if circular is None else circular,
            vanilla=vanilla,
            circular=circular,
            unparsed_rate=1.0 - _mean([parsed[i] for i in rows]),
            categories=self._by("category", units),
            supercategories=self._by("supercategory", units),
            samples=len(rows),
        )

    def _groups(self, rows: Sequence[int], score: Sequence[float]) -> dict[int, float]:
        """1 for each group all of whose rows are right, under its first row (VLMEvalKit's eval_circular_group)."""
        first: dict[str, int] = {}
        units: dict[int, float] = {}
        for row in rows:
            unit = first.setdefault(self.samples[row].group, row)
            units[unit] = min(units.get(unit, 1.0), float(score[row] == 1.0))
        return units

    def _by(self, attribute: str, units: dict[int, float]) -> dict[str, float]:
        """Mean of the units of each category; nothing where the set has none."""
        found: dict[str, list[float]] = {}
        for row, value in units.items():
            if name := getattr(self.samples[row], attribute):
                found.setdefault(name, []).append(value)
        return {name: _mean(values) for name, values in sorted(found.items())}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
