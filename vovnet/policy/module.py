"""The LightningModule around backbone and policy, and its table of scores; ``vovnet.training.module`` trains them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from vovnet.data import Item
from vovnet.errors import VoVNetError
from vovnet.outcomes.routed import Routed, join_routed
from vovnet.policy.route import Begun, Router
from vovnet.ranks import from_all
from vovnet.vlm.device import peak_mb, reset_peak


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


class RoutingModule(L.LightningModule):
    """Predicts by routing live; ``routed`` then holds the batches of all ranks in the order of the split.

    Attributes:
        scores: values of the samples so far, complete over ranks when it is computed.
        routed: what was done to each sample.
        memory_mb: the largest peak memory of a rank.
    """

    routed: Routed
    memory_mb: float

    def __init__(self, router: Router | None = None) -> None:
        super().__init__()
        # A frozen backbone is no registered submodule: Lightning would move, count and save it with the head.
        self._router = (router,)
        self.scores = ScoreTable()
        self._parts: dict[int, Routed] = {}  # batches by their first row
        self._begun: Begun | None = None

    @property
    def router(self) -> Router:
        """Backbone, policy, decoding and judging, where this module was given them."""
        if self._router[0] is None:
            raise VoVNetError("this step needs the backbone, but the module was made for stored outcomes only.")
        return self._router[0]

    def on_predict_start(self) -> None:
        """Begin with nothing."""
        self._parts.clear()
        self._begun = None
        self.scores.reset()
        reset_peak(self.router.backbone.device)

    def predict_step(self, batch: tuple[Sequence[Item], Sequence[Item]], batch_idx: int) -> Routed:
        """Route and answer a batch.

        Args:
            batch: the questions, and those of the next batch; with threads these are decided on first, so that their
                images are ready when this batch is answered.
        """
        items, coming = batch
        begun = self.router.begin(items) if self._begun is None else self._begun
        self._begun = self.router.begin(coming) if coming and self.router.preparing.threads else None
        routed, rows = self.router.finish(begun), [index for index, _, _ in items]
        judged = np.stack([routed.chosen.score, routed.chosen.parsed], axis=1)
        self.scores.update(torch.tensor(rows), torch.from_numpy(judged))
        self._parts[rows[0]] = routed
        return routed

    def on_predict_epoch_end(self) -> None:
        """Join the ranks' batches; every rank has at least one."""
        ranks = from_all((self._parts, peak_mb(self.router.backbone.device)))
        parts = {row: part for some, _ in ranks for row, part in some.items()}
        joined = join_routed([parts[row] for row in sorted(parts)])
        score, parsed = self.scores.compute().cpu().numpy().T
        self.routed = replace(joined, chosen=replace(joined.chosen, score=score, parsed=parsed > 0))
        self.memory_mb = max(memory for _, memory in ranks)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Questions stay as they are; the backbone moves what it needs."""
        return batch
