"""Training the head that may look again, from stored outcomes: all stages at once, each on what the next one plans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import Outcomes
from vovnet.policy.decide import GRID, PRICES, Plans, best_plan, split_outputs
from vovnet.policy.features import seen_features
from vovnet.policy.head import MEMBERS, SequentialHead
from vovnet.policy.module import ScoreTable
from vovnet.policy.objective import OutcomeBatch
from vovnet.schema import FeatureMode, PolicyConfig, PolicyTraining
from vovnet.training.module import decision_metrics, decision_table
from vovnet.training.step_module import StepModule, adamw


@dataclass(frozen=True)
class LookBatch:
    """Outcomes of B questions under every look, and what a policy has seen after each.

    Attributes:
        features: of the text pass, [B, F].
        seen: of each look between the first and the last, [B, A - 2, G].
        score: correctness in [0, 1], [B, A].
        cost: normalised cost, [B, A].
        fold: the member of the head that does not learn from a question, int64 [B]; one for all about an image.
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


def look_tensors(
    outcomes: Outcomes, whole: OutcomeBatch, between: Sequence[Action], mode: FeatureMode, groups: list[str]
) -> LookBatch:
    """Stored outcomes with the looks' states; folds are drawn by image.

    Args:
        whole: the same questions as a policy sees them that looks once.
        between: the looks between the first and the last.
        groups: what questions about one image share, [N].
    """
    seen = []
    for branch in (outcomes.branches[action] for action in between):
        seen.append(torch.from_numpy(seen_features(branch.state, branch.confidence, mode)))
    _, image = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(0).integers(0, MEMBERS, image.max() + 1)[image]
    return LookBatch(whole.features, torch.stack(seen, dim=1), whole.score, whole.cost, torch.from_numpy(fold))


class SequentialModule(StepModule):
    """Trains a ``SequentialHead``, each member on the questions outside its own fold.

    An earlier stage learns what a later one spends and gains (fitted value iteration, Ernst et al. 2005). What a head
    says of the questions that it was trained on is too certain, so the member that has not seen a question plans for
    it (cross-fitting, Chernozhukov et al. 2018). The policy takes the members' mean.
    """

    def __init__(
        self,
        head: SequentialHead,
        policy: PolicyConfig,
        menu: tuple[Action, ...],
        training: PolicyTraining,
        steps: int,
    ) -> None:
        super().__init__()
        self.head, self.policy, self.training_config, self.steps = head, policy, training, steps
        self.actions = menu
        self.scores = ScoreTable()

    def training_step(self, batch: LookBatch, batch_idx: int) -> Tensor:
        """The members' losses, each on the questions outside its fold."""
        plans = self.plans(batch)
        loss = torch.stack([self.member_loss(batch, plans, member) for member in range(MEMBERS)]).mean()
        self.watch_loss("the policy's loss", loss)
        self.log_now_and_then("train/loss", loss.detach(), len(batch.fold))
        return loss * batch.weight

    def plans(self, batch: LookBatch) -> dict[int, Tensor]:
        """By look that leaves others, what the member that has not seen a question plans to spend after it.

        As a share of the cost of all later looks, at every price, [B, PRICES].
        """
        found = {}
        for look in self.head.steps(0):
            with torch.no_grad():
                each = [self.head.of_member(batch.stage(look), look, member) for member in range(MEMBERS)]
            outputs = torch.stack(each)[batch.fold, torch.arange(len(batch.fold))]
            found[look] = planned_shares(outputs, batch.cost, look)
        return found

    def member_loss(self, batch: LookBatch, plans: Mapping[int, Tensor], member: int) -> Tensor:
        """Logarithmic score of values and spending curves, averaged over a stage's outputs; the stages' sum.

        It is proper: the least loss is at the expected score and at the expected share.
        """
        among = batch.fold != member
        total = batch.score.new_zeros(())
        for stage in range(self.head.actions - 1):
            values, curves = self.head.logits(batch.stage(stage), stage, member)
            pairs = [(values, batch.score[:, stage:])]
            pairs += [(curves[:, place], plans[look]) for place, look in enumerate(self.head.steps(stage))]
            for logits, target in pairs:
                own = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
                total = total + own[among].sum() / max(1, int(among.sum()))
        return total

    def validation_step(self, batch: LookBatch, batch_idx: int) -> None:
        """The values' loss, and the plan at the configured lambda beside what every action yields."""
        stages = range(self.head.actions - 1)
        outputs = [self.head(batch.stage(stage), stage) for stage in stages]
        if not all(bool(torch.isfinite(found).all()) for found in outputs):
            raise VoVNetError("the policy's values became NaN or infinite; lower training.learning_rate.")
        losses = [
            nn.functional.binary_cross_entropy(found[:, : self.head.actions - stage], batch.score[:, stage:])
            for stage, found in enumerate(outputs)
        ]
        costs = batch.cost.double().cpu().numpy()
        chosen, paid = Plans([found.double().cpu().numpy() for found in outputs], costs).at(self.policy.lambda_cost)
        rows = torch.arange(len(chosen)) + (batch_idx << 32)
        self.scores.update(rows, decision_table(batch.score, batch.cost, chosen, paid))
        self.log("val/loss", torch.stack(losses).sum(), batch_size=len(rows), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """What the plans yield over the validation questions."""
        table = self.scores.compute().cpu()
        self.scores.reset()
        self.log_dict(decision_metrics(table, self.actions, self.policy.lambda_cost), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW."""
        own = self.training_config
        parts: dict[nn.Module, tuple[float, float]] = {self.head: (own.learning_rate, own.weight_decay)}
        return adamw(parts, own.schedule, own.warmup_fraction, self.steps, fused=True)


def planned_shares(outputs: Tensor, cost: Tensor, look: int) -> Tensor:
    """Share of the cost of all later looks that a stage plans to spend after its look, at every price, [B, PRICES].

    Args:
        outputs: of the stage, [B, outputs].
        cost: of every look, [B, A].
    """
    costs = cost.double().cpu().numpy()
    values, curves = split_outputs(outputs.double().cpu().numpy(), costs.shape[1], look)
    total = np.maximum(costs[:, look + 1 :].sum(axis=1), 1e-9)[:, None]
    values, curves, costs = (np.repeat(table, PRICES, axis=0) for table in (values, curves, costs))
    further = best_plan(values, curves, costs, (GRID[:-1] / total).ravel(), look).further
    return torch.from_numpy(further.reshape(-1, PRICES) / total).to(cost)
