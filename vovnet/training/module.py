"""The LightningModule around backbone and policy network."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from vovnet.actions import ACTION_SPACES, Action
from vovnet.data import Item
from vovnet.errors import VoVNetError
from vovnet.outcomes.branches import read_text, text_outcomes
from vovnet.outcomes.routed import Routed
from vovnet.policy.decide import choose
from vovnet.policy.features import features
from vovnet.policy.head import PolicyHead
from vovnet.policy.objective import OutcomeBatch, mixture_loss, value_loss
from vovnet.policy.route import Router
from vovnet.schema import PolicyConfig, PolicyTraining


class VoVNetModule(L.LightningModule):
    """Trains the head on stored or live outcomes; predicts by routing live.

    Args:
        head: the policy network, the only part in the optimiser and in checkpoints.
        policy: what the head reads and may choose.
        training: optimiser settings.
        router: the backbone and its rules; needed for live training and for prediction. Training on
            stored outcomes needs no backbone in memory.
    """

    def __init__(
        self, head: PolicyHead, policy: PolicyConfig, training: PolicyTraining, router: Router | None = None
    ) -> None:
        super().__init__()
        self.head = head
        self.policy = policy
        self.training_config = training
        # Not a registered submodule: Lightning would move, count and save the frozen backbone with the head.
        self._router = (router,)
        self.actions = ACTION_SPACES[policy.action_space]

    def training_step(self, batch: OutcomeBatch | Sequence[Item], batch_idx: int) -> Tensor:
        """Loss of the configured objective."""
        outcomes = batch if isinstance(batch, OutcomeBatch) else self.live_outcomes(batch)
        loss = self.loss(outcomes)
        self.log("train/loss", loss.detach(), batch_size=len(outcomes.score))
        return loss

    def validation_step(self, batch: OutcomeBatch | Sequence[Item], batch_idx: int) -> None:
        """Loss, and what the greedy decision at the configured lambda yields."""
        outcomes = batch if isinstance(batch, OutcomeBatch) else self.live_outcomes(batch)
        size = len(outcomes.score)
        costs = outcomes.cost.double().cpu().numpy()
        values = self.head(outcomes.features).double().cpu().numpy()
        if not np.isfinite(values).all():
            raise VoVNetError("the policy's values became NaN or infinite; lower training.learning_rate.")
        chosen = choose(values, costs, self.policy.lambda_cost)
        rows = np.arange(size)
        accuracy = float(outcomes.score.cpu().numpy()[rows, chosen].mean())
        cost = float(costs[rows, chosen].mean())
        rates = {f"val/rate_{a.label}": float((chosen == column).mean()) for column, a in enumerate(self.actions)}
        self.log_dict(
            {
                "val/loss": self.loss(outcomes),
                "val/acc": accuracy,
                "val/cost": cost,
                "val/utility": accuracy - self.policy.lambda_cost * cost,
                **rates,
            },
            batch_size=size,
        )

    def predict_step(self, batch: Sequence[Item], batch_idx: int) -> Routed:
        """Route and answer a batch."""
        return self.router(batch)

    def loss(self, outcomes: OutcomeBatch) -> Tensor:
        """The objective on a batch of outcomes."""
        objective = self.policy.objective
        if objective.name == "value":
            return value_loss(self.head, outcomes)
        return mixture_loss(
            self.head,
            outcomes,
            self.policy.lambda_cost,
            objective.temperature,
            self.policy.use_straight_through and self.training,
            objective.loss,
            objective.entropy_weight,
        )

    def live_outcomes(self, items: Sequence[Item]) -> OutcomeBatch:
        """Run every branch of a batch now; gradients flow where the backbone asks for them."""
        router, backbone = self.router, self.router.backbone
        batch = backbone.builder.build(items, self.actions)
        state = read_text(backbone, batch)
        read = features(text_outcomes(state, batch, backbone.feature_dtype), self.policy.feature_mode)
        nll, score = [], []
        for action in self.actions:
            seen = state.prefill if action is Action.NO else backbone.look(batch, action, state.prefill)
            nll.append(backbone.answer_nll(seen, batch.references))
            answers = backbone.decode(seen, router.decoding, batch, action, router.seed)
            judged = [router.judge(i, a.text)[0] for i, a in zip(batch.indices, answers, strict=True)]
            score.append(torch.tensor(judged, dtype=torch.float32))
        costs = router.costs([sample for _, sample, _ in items])
        return OutcomeBatch(
            features=torch.from_numpy(read).to(self.device),
            score=torch.stack(score, dim=1).to(self.device),
            nll=torch.stack(nll, dim=1).to(self.device),
            cost=torch.from_numpy(costs).float().to(self.device),
        )

    @property
    def router(self) -> Router:
        """Backbone, decoding and judging, where this module was given them."""
        if self._router[0] is None:
            raise VoVNetError("this step needs the backbone, but the module was made for stored outcomes only.")
        return self._router[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over the head."""
        return torch.optim.AdamW(
            self.head.parameters(),
            lr=self.training_config.learning_rate,
            weight_decay=self.training_config.weight_decay,
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Stored outcomes move; samples stay, the backbone moves what it needs."""
        if isinstance(batch, OutcomeBatch):
            return OutcomeBatch(*(getattr(batch, f).to(device) for f in ("features", "score", "nll", "cost")))
        return batch
