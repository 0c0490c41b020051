"""The heads that give each look a value: one that decides once, one that decides again after a look."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vovnet.policy.decide import PRICES


class PolicyHead(nn.Module):
    """Standardise, one hidden layer, one output per action.

    Args:
        width: number of features F.
        hidden_size: units of the hidden layer.
        actions: number of actions A.
        bounded: values are probabilities of being right, in (0, 1) (objective ``value``);
            otherwise values are on the scale of the loss and relative to NO (objective ``mixture``).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, hidden_size: int, actions: int, bounded: bool) -> None:
        super().__init__()
        self.bounded = bounded
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.hidden = nn.Linear(width, hidden_size)
        self.output = nn.Linear(hidden_size, actions)
        nn.init.zeros_(self.output.weight)  # start from equal values: no action is preferred unseen
        nn.init.zeros_(self.output.bias)

    @property
    def width(self) -> int:
        """Number of features F."""
        return len(self.mean)

    def standardise(self, features: Tensor) -> None:
        """Take mean and scale of each feature from training data [N, F]."""
        self.mean.copy_(features.mean(0))
        deviation = features.std(0, correction=0)
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))  # a constant feature stays small

    def logits(self, features: Tensor) -> Tensor:
        """Raw outputs [B, A]."""
        standard = (features - self.mean) / self.scale
        raw: Tensor = self.output(nn.functional.gelu(self.hidden(standard)))
        return raw

    def forward(self, features: Tensor) -> Tensor:
        """Values [B, A] of features [B, F]."""
        raw = self.logits(features)
        return raw.sigmoid() if self.bounded else raw - raw[:, :1]


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
