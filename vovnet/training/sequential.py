"""Training the head that may look again, from stored outcomes: all stages at once, each on what the next one plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vovnet.actions import ACTION_SPACES
from vovnet.outcomes.rows import Outcomes
from vovnet.policy.features import seen_features
from vovnet.policy.objective import OutcomeBatch
from vovnet.policy.plan import GRID, PRICES, Plans, best_plan, split_outputs
from vovnet.policy.sequential_head import SequentialHead
from vovnet.schema import PolicyConfig, PolicyTraining
from vovnet.scoring.table import ScoreTable
from vovnet.training.module import decision_metrics, decision_table
from vovnet.training.step_module import StepModule, adamw

FOLDS = 3  # a stage's plans are learned from heads that have not seen the question: their own values look too certain


@dataclass(frozen=True)
class LookBatch:
    """Outcomes of B questions under every look, and what a policy has seen after each.

    Attributes:
        features: of the text pass, [B, F].
        seen: of each look between the first and the last, [B, A - 2, G].
        score: correctness in [0, 1], [B, A].
        cost: normalised cost, [B, A].
        fold: of each question, int64 [B]; those about one image share it.
        weight: of this batch's mean among those that are averaged with it.
    """

    features: Tensor
    seen: Tensor
    score: Tensor
    cost: Tensor
    fold: Tensor
    weight: float = 1.0

    def rows(self, index: Tensor) -> "LookBatch":
        """Some questions."""
        columns = ("features", "seen", "score", "cost", "fold")
        return LookBatch(*(getattr(self, name).index_select(0, index) for name in columns))

    def stage(self, number: int) -> Tensor:
        """What a stage reads, [B, ...]."""
        return torch.cat([self.features, self.seen[:, number - 1]], dim=1) if number else self.features


def look_tensors(outcomes: Outcomes, whole: OutcomeBatch, policy: PolicyConfig, groups: list[str]) -> LookBatch:
    """Stored outcomes with the looks' states; folds are drawn by image.

    Args:
        whole: the same questions as a policy sees them that looks once.
        groups: what questions about one image share, [N].
    """
    between = ACTION_SPACES[policy.action_space][1:-1]
    seen = []
    for branch in (outcomes.branches[action] for action in between):
        seen.append(torch.from_numpy(seen_features(branch.state, branch.confidence, policy.feature_mode)))
    _, image = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(0).integers(0, FOLDS, image.max() + 1)[image]
    return LookBatch(whole.features, torch.stack(seen, dim=1), whole.score, whole.cost, torch.from_numpy(fold))


class SequentialModule(StepModule):
    """Trains a ``SequentialHead``, and ``FOLDS`` more that plan for the questions that they have not learned from.

    The earlier stage learns what a later one spends and gains (fitted value iteration, Ernst et al. 2005). What a head
    says of the questions that it was trained on is too certain, so that another one plans for them (cross-fitting,
    Chernozhukov et al. 2018).
    """

    def __init__(
        self, head: SequentialHead, spares: nn.ModuleList, policy: PolicyConfig, training: PolicyTraining, steps: int
    ) -> None:
        super().__init__()
        self.head, self.spares = head, spares
        self.policy, self.training_config, self.steps = policy, training, steps
        self.actions = ACTION_SPACES[policy.action_space]
        self.scores = ScoreTable()

    def standardise(self, outcomes: LookBatch) -> None:
        """Mean and scale of the features of the training questions."""
        for head in (self.head, *self.spares):
            head.standardise([outcomes.stage(number) for number in range(len(self.actions) - 1)])

    def training_step(self, batch: LookBatch, batch_idx: int) -> Tensor:
        """Loss of the head, and of each spare one on the questions outside its fold."""
        looks = self.head.steps(0)
        by_fold = {look: torch.stack([plan_shares(spare, batch, look) for spare in self.spares]) for look in looks}  # type: ignore[arg-type]
        rows = torch.arange(len(batch.fold))
        plans = {look: shares[batch.fold, rows] for look, shares in by_fold.items()}
        loss = head_loss(self.head, batch, plans)
        self.log_now_and_then("train/loss", loss.detach(), len(rows))
        for fold, spare in enumerate(self.spares):
            loss = loss + head_loss(spare, batch, plans, batch.fold != fold)  # type: ignore[arg-type]
        self.watch_loss("the policy's loss", loss)
        return loss * batch.weight

    def validation_step(self, batch: LookBatch, batch_idx: int) -> None:
        """Loss, and the plan at the configured lambda beside what every action yields."""
        plans = {look: plan_shares(self.head, batch, look) for look in self.head.steps(0)}
        outputs = [outputs_of(self.head, batch, stage) for stage in range(self.head.actions - 1)]
        chosen, paid = Plans(outputs, batch.cost.double().cpu().numpy()).at(self.policy.lambda_cost)
        rows = torch.arange(len(chosen)) + (batch_idx << 32)
        self.scores.update(rows, decision_table(batch.score, batch.cost, chosen, paid))
        self.log("val/loss", head_loss(self.head, batch, plans), batch_size=len(rows), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """What the plans yield over the validation questions."""
        table = self.scores.compute().cpu()
        self.scores.reset()
        self.log_dict(decision_metrics(table, self.actions, self.policy.lambda_cost), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW over all heads."""
        own = self.training_config
        parts = dict.fromkeys((self.head, *self.spares), (own.learning_rate, own.weight_decay))
        return adamw(parts, own.schedule, own.warmup_fraction, self.steps, fused=True)


def head_loss(
    head: SequentialHead, batch: LookBatch, plans: Mapping[int, Tensor], among: Tensor | None = None
) -> Tensor:
    """Logarithmic score of the values and of the spending curves, averaged over a stage's outputs; the stages' sum.

    Both are proper: the least loss is at the expected score and at the expected share.

    Args:
        plans: by look, the share of the cost of all later looks that its own stage plans to spend, [B, PRICES].
        among: questions that count, bool [B]; None counts all.
    """
    total = batch.score.new_zeros(())
    for stage in range(head.actions - 1):
        values, curves = head.logits(batch.stage(stage), stage)
        pairs = [(values, batch.score[:, stage:])]
        pairs += [(curves[:, place], plans[look]) for place, look in enumerate(head.steps(stage))]
        for logits, target in pairs:
            own = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
            total = total + (own.mean() if among is None else own[among].sum() / max(1, int(among.sum())))
    return total


@torch.no_grad()
def plan_shares(head: SequentialHead, batch: LookBatch, look: int) -> Tensor:
    """Share of the cost of all later looks that a stage plans to spend after its look, at every price, [B, PRICES]."""
    values, curves = split_outputs(outputs_of(head, batch, look), head.actions, look)
    costs = batch.cost.double().cpu().numpy()
    total = np.maximum(costs[:, look + 1 :].sum(axis=1), 1e-9)[:, None]
    tables = (np.repeat(table, PRICES, axis=0) for table in (values, curves, costs))
    further = best_plan(next(tables), next(tables), next(tables), (GRID[:-1] / total).ravel(), look).further
    return torch.from_numpy(further.reshape(-1, PRICES) / total).to(batch.cost)


def outputs_of(head: SequentialHead, batch: LookBatch, stage: int) -> np.ndarray:
    """What a stage says of a batch, [B, outputs]."""
    outputs: np.ndarray = head(batch.stage(stage), stage).detach().double().cpu().numpy()
    return outputs
