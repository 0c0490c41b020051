"""Values of a split's samples as a torchmetrics state, which all ranks complete for each other."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class ScoreTable(Metric):
    """Scores and what belongs to them, [N, C] by sample.

    Sums over samples are right however these were spread over ranks; one that came twice, as samplers pad the
    shares of ranks, is in the table once.
    """

    full_state_update = False
    seen: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, rows: Tensor, values: Tensor) -> None:
        """Add samples by their places in the split, [B], with their values, [B, C]."""
        self.seen.append(torch.cat([rows[:, None].double(), values.double()], dim=1).to(self.device))

    def compute(self) -> Tensor:
        """The values of all ranks' samples in the order of the split, float64 [N, C]."""
        seen = dim_zero_cat(self.seen)
        seen = seen[seen[:, 0].argsort(stable=True)]
        first = torch.ones(len(seen), dtype=torch.bool, device=seen.device)
        first[1:] = seen[1:, 0] != seen[:-1, 0]
        return seen[first, 1:]
