"""The policy network: a small perceptron from text-pass features to one value per action."""

import torch
from torch import Tensor, nn


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
