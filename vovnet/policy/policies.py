"""Policies and baselines under one interface: text-pass features and costs in, actions out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vovnet.actions import ACTION_SPACES, Action
from vovnet.backbone.files import Checkpoint
from vovnet.outcomes.rows import TextOutcomes
from vovnet.policy.checkpoint import PolicyCard, find_policy, load_policy
from vovnet.policy.decide import choose
from vovnet.policy.features import features
from vovnet.schema import RunConfig

if TYPE_CHECKING:
    from vovnet.policy.head import PolicyHead

VALUE_BLOCK = 65_536  # rows per forward pass of the head; bounds memory on large stores


@dataclass(frozen=True)
class Decision:
    """What a policy chose.

    Attributes:
        actions: ``Action`` values, int64 [N].
        values: estimated score per action of the policy's space, [N, A]; None for fixed rules.
    """

    actions: np.ndarray
    values: np.ndarray | None


class Policy(Protocol):
    """Chooses an action per sample."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """What it may choose, cheapest first."""
        ...

    @property
    def reads_text(self) -> bool:
        """Whether deciding needs the text pass, which is then charged."""
        ...

    def decide(self, text: TextOutcomes, costs: np.ndarray) -> Decision:
        """Decide from text-pass features and normalised costs [N, len(actions)]."""
        ...


@dataclass(frozen=True)
class FixedPolicy:
    """Always the dearest of its actions, without reading anything."""

    actions: tuple[Action, ...]
    reads_text: bool = False

    def decide(self, text: TextOutcomes, costs: np.ndarray) -> Decision:
        """Ignore everything."""
        return Decision(np.full(len(costs), int(self.actions[-1]), dtype=np.int64), None)


@dataclass(frozen=True)
class VoVNetPolicy:
    """The trained head with a lambda."""

    head: "PolicyHead"
    card: PolicyCard
    lambda_cost: float
    reads_text: bool = True

    @property
    def actions(self) -> tuple[Action, ...]:
        """The head's action space."""
        return ACTION_SPACES[self.card.action_space]

    def decide(self, text: TextOutcomes, costs: np.ndarray) -> Decision:
        """argmax_a v_a - lambda c_a, ties to the cheaper."""
        values = self.values(text)
        columns = choose(values, costs, self.lambda_cost)
        return Decision(np.array([int(a) for a in self.actions])[columns], values)

    def values(self, text: TextOutcomes) -> np.ndarray:
        """Values of all samples, float64 [N, A]. Always on the CPU: live and replay share every bit of it."""
        import torch

        out = np.empty((len(text), len(self.actions)), dtype=np.float64)
        for start in range(0, len(text), VALUE_BLOCK):
            rows = np.arange(start, min(start + VALUE_BLOCK, len(text)))
            with torch.inference_mode():
                block = torch.from_numpy(features(text, self.card.feature_mode, rows))
                out[rows] = self.head(block).double().numpy()
        return out


FIXED = {"always_full": (Action.FULL,), "always_coarse": (Action.COARSE,), "no_vision": (Action.NO,)}


def make_policy(config: RunConfig, checkpoint: Checkpoint) -> tuple[Policy, Path | None]:
    """The configured policy or baseline, and the file its head came from.

    Raises:
        VoVNetError: no fitting policy file.
    """
    name = config.policy.baseline.name
    if name:
        return FixedPolicy(FIXED[name]), None
    path = find_policy(config, checkpoint)
    head, card = load_policy(path, checkpoint)
    return VoVNetPolicy(head, card, config.policy.lambda_cost), path
