"""How outcomes teach the head."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from vovnet.errors import VoVNetError
from vovnet.policy.head import PolicyHead
from vovnet.registry import check_call
from vovnet.schema import ObjectiveConfig


@dataclass(frozen=True)
class OutcomeBatch:
    """Outcomes of a batch under every action of the action space.

    Attributes:
        features: [B, F].
        score: correctness in [0, 1], [B, A].
        nll: mean NLL of the reference, nats per token, [B, A].
        cost: normalised cost, [B, A].
        noise: standard Gumbel noise of straight-through training, [B, A]; None draws it from torch's generator.
        weight: of this batch's mean among those that are averaged with it (ranks with unlike numbers of rows).
    """

    features: Tensor
    score: Tensor
    nll: Tensor
    cost: Tensor
    noise: Tensor | None = None
    weight: float = 1.0

    def rows(self, index: Tensor) -> "OutcomeBatch":
        """Some questions of stored outcomes."""
        columns = ("features", "score", "nll", "cost")
        return OutcomeBatch(*(getattr(self, name).index_select(0, index) for name in columns))

    def to(self, device: torch.device) -> "OutcomeBatch":
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("features", "score", "nll", "cost")}
        return replace(self, **moved, noise=None if self.noise is None else self.noise.to(device))


class Objective:
    """How a head learns. One of the user's own derives from this, or is a function with the arguments of ``loss``.

    Attributes:
        bounded: the head's values are probabilities of being right, in (0, 1).
        scored: the loss reads ``OutcomeBatch.score``; live training then decodes and scores every look.
        knows_lambda: a policy is trained for one lambda.
    """

    bounded = False
    scored = True
    knows_lambda = True

    def loss(self, head: PolicyHead, batch: OutcomeBatch, lambda_cost: float) -> Tensor:
        """A scalar to be minimised, the mean over the batch.

        Args:
            lambda_cost: accuracy that one maximal FULL image is worth, at this step.
        """
        raise NotImplementedError


class Value(Objective):
    """Predicts each action's score; one checkpoint for every lambda."""

    bounded, knows_lambda = True, False

    def loss(self, head: PolicyHead, batch: OutcomeBatch, lambda_cost: float) -> Tensor:
        """See ``value_loss``."""
        return value_loss(head, batch)


class Mixture(Objective):
    """Expected branch loss and cost under soft weights."""

    def __init__(self, config: ObjectiveConfig, straight_through: bool) -> None:
        self.config, self.straight_through = config, straight_through
        self.scored = config.loss == "error"

    def loss(self, head: PolicyHead, batch: OutcomeBatch, lambda_cost: float) -> Tensor:
        """See ``mixture_loss``; validation draws no noise."""
        own, sampled = self.config, self.straight_through and head.training
        return mixture_loss(head, batch, lambda_cost, own.temperature, sampled, own.loss, own.entropy_weight)


class Function(Objective):
    """A user's function."""

    def __init__(self, function: Callable[[PolicyHead, OutcomeBatch, float], Tensor]) -> None:
        self.function = function

    def loss(self, head: PolicyHead, batch: OutcomeBatch, lambda_cost: float) -> Tensor:
        """What it returns."""
        return self.function(head, batch, lambda_cost)


def make_objective(config: ObjectiveConfig, straight_through: bool) -> Objective:
    """The configured objective.

    Raises:
        VoVNetError: the user's own is neither an ``Objective`` nor a function.
    """
    if config.code is None:
        return Value() if config.name == "value" else Mixture(config, straight_through)
    if isinstance(part := config.code.part(), type):
        made = config.code()
        if not isinstance(made, Objective):
            raise VoVNetError(
                f"{config.code.target} is no objective; derive it from vovnet.Objective and define loss()."
            )
        return made
    check_call("objective", part, (None, None, 0.0), config.code.options)  # head, batch, lambda
    return Function(partial(part, **config.code.options))


def value_loss(head: PolicyHead, batch: OutcomeBatch) -> Tensor:
    """Logarithmic score of the predicted correctness, averaged over actions.

    A proper scoring rule: its minimum is the expected score of each action given the features.
    It knows no lambda, so one checkpoint serves all of them.
    """
    return nn.functional.binary_cross_entropy_with_logits(head.logits(batch.features), batch.score)


def mixture_loss(
    head: PolicyHead,
    batch: OutcomeBatch,
    lambda_cost: float,
    temperature: float,
    straight_through: bool,
    loss: str,
    entropy_weight: float = 0.0,
) -> Tensor:
    """Mean over samples of sum_a y_a (L_a + lambda c_a), y from softmax((v - lambda c) / tau).

    ``straight_through``: y is a Gumbel-softmax sample, one-hot forward and soft backward (Jang et al.
    2017); otherwise y is the softmax itself. Every branch's loss enters, so the task reaches the policy.

    This loss is linear in the weights, so it drives them to one action a sample: only the sign of a difference of
    values is learned, their size grows without bound and soon no other lambda changes a decision. ``entropy_weight``
    times tau times the softmax's entropy is taken off (Haarnoja et al. 2018, "Soft actor-critic", equation 1); at 1
    the minimum over the softmax is v_a = -E[L_a] up to a constant, which answers to every lambda.
    """
    branch_loss = batch.nll if loss == "nll" else 1.0 - batch.score
    utility = head(batch.features) - lambda_cost * batch.cost
    if straight_through:
        weights = _straight_through((utility + _noise(batch)) / temperature)
    else:
        weights = torch.softmax(utility / temperature, dim=-1)
    expected = (weights * (branch_loss + lambda_cost * batch.cost)).sum(-1).mean()
    if entropy_weight == 0:
        return expected
    log_soft = torch.log_softmax(utility / temperature, dim=-1)
    entropy = -(log_soft.exp() * log_soft).sum(-1).mean()
    return expected - entropy_weight * temperature * entropy


def _noise(batch: OutcomeBatch) -> Tensor:
    if batch.noise is not None:
        return batch.noise
    return -torch.empty_like(batch.cost).exponential_().log()


def _straight_through(logits: Tensor) -> Tensor:
    """One-hot at the largest logit; backward as the softmax."""
    soft = torch.softmax(logits, dim=-1)
    hard = nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft
