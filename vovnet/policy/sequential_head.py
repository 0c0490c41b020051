"""The policy network that may look again: one head before any look, and one after each look but the last."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vovnet.policy.head import PolicyHead
from vovnet.policy.plan import PRICES

MEMBERS = 4


class SequentialHead(nn.Module):
    """Values of looks, and what a look is worth as a step to further ones; the mean of several members.

    Stage m reads the text pass and, from stage 1 on, the state after look m. It gives the probability that each look
    from m on answers correctly, and for each look that leaves others (m < j < A - 1) the expected share of the cost of
    all later looks that the best plan still spends after j, at each price of ``plan.GRID``.

    Args:
        width: features of the text pass F.
        seen: features of a look's state G.
        hidden_size: units of each hidden layer.
        actions: looks A, cheapest first; the first one is the text pass itself.
    """

    def __init__(self, width: int, seen: int, hidden_size: int, actions: int) -> None:
        super().__init__()
        self.width, self.actions = width, actions
        self.members = nn.ModuleList(
            nn.ModuleList(
                PolicyHead(width + (seen if stage else 0), hidden_size, self.outputs(stage), bounded=False)
                for stage in range(actions - 1)
            )
            for _ in range(MEMBERS)
        )

    def outputs(self, stage: int) -> int:
        """Values and spending curves of a stage, as numbers."""
        return self.actions - stage + PRICES * len(self.steps(stage))

    def steps(self, stage: int) -> range:
        """Looks from this stage on that leave others."""
        return range(stage + 1, self.actions - 1)

    def standardise(self, features: Sequence[Tensor]) -> None:
        """Mean and scale of each stage's features [N, ...] from training data."""
        for member in range(MEMBERS):
            for stage, table in enumerate(features):
                self.part(member, stage).standardise(table)

    def part(self, member: int, stage: int) -> PolicyHead:
        """A member's head of a stage."""
        part: PolicyHead = self.members[member][stage]  # type: ignore[index]
        return part

    def logits(self, features: Tensor, stage: int, member: int) -> tuple[Tensor, Tensor]:
        """A member's values [B, A - stage] and spending curves [B, looks, PRICES], which fall with the price."""
        raw = self.part(member, stage).logits(features)
        count = self.actions - stage
        curves = raw[:, count:].reshape(len(raw), len(self.steps(stage)), PRICES)
        falls = nn.functional.softplus(curves[..., 1:]).cumsum(-1)
        return raw[:, :count], torch.cat([curves[..., :1], curves[..., :1] - falls], dim=-1)

    def of_member(self, features: Tensor, stage: int, member: int) -> Tensor:
        """A member's values and spending curves as probabilities and shares, [B, outputs]."""
        values, curves = self.logits(features, stage, member)
        return torch.cat([values, curves.flatten(1)], dim=1).sigmoid()

    def forward(self, features: Tensor, stage: int = 0) -> Tensor:
        """The members' mean, [B, outputs]; see ``plan.split_outputs``."""
        return torch.stack([self.of_member(features, stage, member) for member in range(MEMBERS)]).mean(0)


AnyHead = PolicyHead | SequentialHead
