"""Scores of a split as a torchmetrics state that adds up over ranks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vovnet.data import Sample
from vovnet.scoring.official import aggregate


class ScoreTable(Metric):
    """One cell per sample of a split.

    A sample that a distributed sampler hands out twice fills its cell twice with the same number, so nothing
    is counted double, and scores of whole groups (MMBench's circular score) are right however the rows were
    spread over ranks.

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

    def compute(self) -> dict[str, Any]:
        """The fields of ``OfficialScores`` over the samples that were seen; torchmetrics takes no frozen object.

        Raises:
            ValueError: none was seen.
        """
        rows = torch.nonzero(self.seen)[:, 0].tolist()
        some = [self.samples[row] for row in rows]
        score, parsed = (state[rows].cpu().numpy() for state in (self.score, self.parsed))
        return asdict(aggregate(some, score, parsed, self.metric))
