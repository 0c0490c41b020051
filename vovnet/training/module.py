"""The LightningModule around backbone and policy network that trains them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vovnet.actions import ACTION_SPACES, Action
from vovnet.data import Item
from vovnet.errors import VoVNetError
from vovnet.outcomes.branches import TextState, check_finite, read_text, text_outcomes
from vovnet.policy.decide import choose
from vovnet.policy.features import SCALARS
from vovnet.policy.head import PolicyHead
from vovnet.policy.module import RoutingModule
from vovnet.policy.objective import OutcomeBatch, make_objective
from vovnet.policy.route import Router
from vovnet.schema import PolicyConfig, PolicyTraining
from vovnet.training.questions import LiveBatch
from vovnet.training.step_module import StepModule, adamw
from vovnet.vlm.protocol import Reading


def decision_table(scores: Tensor, costs: Tensor, chosen: np.ndarray, paid: np.ndarray) -> Tensor:
    """What each action yields for some questions, [B, A] each, the look answered from and what was paid, [B]."""
    columns = [scores.double().cpu(), costs.double().cpu(), *(torch.from_numpy(c)[:, None] for c in (chosen, paid))]
    return torch.cat([column.double() for column in columns], dim=1)


def decision_metrics(table: Tensor, actions: Sequence[Action], price: float) -> dict[str, float]:
    """What decisions of ``decision_table`` yield on average, beside every fixed action."""
    most = len(actions)
    scores, costs = table[:, :most].float().numpy(), table[:, most : 2 * most].numpy()
    chosen, rows = table[:, -2].long().numpy(), np.arange(len(table))
    accuracy, cost = float(scores[rows, chosen].mean()), float(table[:, -1].mean())
    fixed = (scores - price * costs).mean(axis=0)
    return {
        "val/acc": accuracy,
        "val/cost": cost,
        "val/utility": accuracy - price * cost,
        **{f"val/utility_{action.label}": float(fixed[column]) for column, action in enumerate(actions)},
        **{f"val/rate_{action.label}": float((chosen == column).mean()) for column, action in enumerate(actions)},
    }


class VoVNetModule(RoutingModule, StepModule):
    """Trains the head on stored or live outcomes; predicts by routing live.

    Args:
        head: the policy network.
        policy: what the head reads and may choose.
        training: optimiser settings.
        router: the backbone and its rules; needed for live training and for prediction. Training on
            stored outcomes needs no backbone in memory.
        steps: optimiser steps of the schedules.
    """

    def __init__(
        self,
        head: PolicyHead,
        policy: PolicyConfig,
        training: PolicyTraining,
        router: Router | None = None,
        steps: int = 1,
    ) -> None:
        super().__init__(router)
        self.head = head
        self.policy = policy
        self.objective = make_objective(policy.objective, policy.use_straight_through)
        self.training_config = training
        self.steps = steps
        learns = training.stage2_backbone != "frozen" and router is not None
        self.backbone = router.backbone if learns and router is not None else None
        self.actions = ACTION_SPACES[policy.action_space]
        self._judged = {action.label: [0, 0] for action in self.actions}  # answers of live branches: unread, all

    def training_step(self, batch: OutcomeBatch | LiveBatch, batch_idx: int) -> Tensor:
        """Loss of the configured objective at the lambda of this step."""
        outcomes = batch if isinstance(batch, OutcomeBatch) else self.live_outcomes(batch.items, batch.noise)
        loss = self.loss(outcomes, self.warm_lambda())
        if self.backbone is not None and self.objective.bounded:
            # The scoring rule reaches the backbone through the features only; every branch has to keep answering.
            loss = loss + outcomes.nll.mean()
        self.watch_loss("the policy's loss", loss)
        self.log_now_and_then("train/loss", loss.detach(), len(outcomes.score))
        return loss * outcomes.weight

    def validation_step(self, batch: OutcomeBatch | LiveBatch, batch_idx: int) -> None:
        """Loss, and the greedy decision at the configured lambda beside what every action yields."""
        if isinstance(batch, OutcomeBatch):  # the same on every rank
            outcomes, rows = batch, torch.arange(len(batch.score)) + (batch_idx << 32)
        else:
            outcomes = self.live_outcomes(batch.items, scored=True)
            rows = torch.tensor([index for index, _, _ in batch.items])
        values = self.head(outcomes.features).double().cpu().numpy()
        if not np.isfinite(values).all():
            raise VoVNetError("the policy's values became NaN or infinite; lower training.learning_rate.")
        costs = outcomes.cost.double().cpu()
        chosen = choose(values, costs.numpy(), self.policy.lambda_cost)
        paid = costs.numpy()[np.arange(len(chosen)), chosen]
        self.scores.update(rows, decision_table(outcomes.score, costs, chosen, paid))
        self.log("val/loss", self.loss(outcomes, self.policy.lambda_cost), batch_size=len(rows), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """What the decisions yield over the validation questions of all ranks."""
        table = self.scores.compute().cpu()
        self.scores.reset()
        self.log_dict(decision_metrics(table, self.actions, self.policy.lambda_cost), sync_dist=True)

    def loss(self, outcomes: OutcomeBatch, lambda_cost: float) -> Tensor:
        """The objective on a batch of outcomes."""
        return self.objective.loss(self.head, outcomes, lambda_cost)

    def warm_lambda(self) -> float:
        """Lambda of the current step: rises linearly from 0 during the first ``lambda_warmup_fraction``."""
        warm = self.training_config.lambda_warmup_fraction * self.steps
        return self.policy.lambda_cost * (min(1.0, self.global_step / warm) if warm else 1.0)

    def live_outcomes(
        self, items: Sequence[Item], noise: Tensor | None = None, scored: bool | None = None
    ) -> OutcomeBatch:
        """Run every branch of a batch now; gradients flow where the backbone asks for them.

        Args:
            scored: decode and judge the answers; None does where the objective learns from scores.
        """
        router, backbone = self.router, self.router.backbone
        scored = self.objective.scored if scored is None else scored
        batch = backbone.builder.build(items, self.actions)
        state = read_text(backbone, batch)
        text_outcomes(state, batch, backbone.feature_dtype)  # refuses NaN, naming the sample
        nll, score = [], []
        for action in self.actions:
            seen = backbone.read(batch, action, state.prefill)
            nll.append(backbone.nll(seen, batch.references))
            check_finite({f"answer NLL under {action.label.upper()}": nll[-1]}, batch)
            judged = [torch.nan] * len(items)
            if scored:
                (answers,) = backbone.answer([Reading(batch, action, seen)], router.decoding, router.seed)
                scores = [router.judge(i, a.final) for i, a in zip(batch.indices, answers, strict=True)]
                judged = [one.target for one in scores]
                self._judged[action.label][0] += sum(not one.parsed for one in scores)
                self._judged[action.label][1] += len(scores)
            score.append(torch.tensor(judged, dtype=torch.float32))
        costs = router.costs([sample for _, sample, _ in items])
        return OutcomeBatch(
            features=self.live_features(state).to(self.device),
            score=torch.stack(score, dim=1).to(self.device),
            nll=torch.stack(nll, dim=1).to(self.device),
            cost=torch.from_numpy(costs).float().to(self.device),
            noise=None if noise is None else noise.to(self.device),
        )

    def unread_shares(self) -> dict[str, float]:
        """Share of the live answers so far that could not be read, by action; of this rank."""
        return {label.upper(): unread / max(1, count) for label, (unread, count) in self._judged.items()}

    def live_features(self, state: TextState) -> Tensor:
        """The features of ``policy.features`` as a tensor through which gradients flow, [B, F]."""
        hidden = state.prefill.hidden.to(self.router.backbone.feature_dtype).float()
        scalars = [getattr(state, name).float()[:, None] for name in SCALARS[self.policy.feature_mode]]
        return torch.cat([hidden, *scalars], dim=1)

    def configure_optimizers(self) -> Any:
        """AdamW over the head, and over what is trained of the backbone at a rate of its own."""
        own = self.training_config
        parts: dict[torch.nn.Module, tuple[float, float]] = {self.head: (own.learning_rate, own.weight_decay)}
        if self.backbone is not None:
            parts[self.backbone] = (own.backbone.learning_rate, own.backbone.weight_decay)
        return adamw(parts, own.schedule, own.warmup_fraction, self.steps, fused=self._router[0] is None)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Stored outcomes move; samples stay, the backbone moves what it needs."""
        return batch.to(device) if isinstance(batch, OutcomeBatch) else batch
