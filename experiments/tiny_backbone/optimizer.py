"""The recipe's optimisers: Muon for matrices, AdamW for the rest, as one."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from experiments.tiny_backbone.recipe import Recipe
from vovnet.training.step_module import scheduled

OUTSIDE = ("embed", "lm_head")  # matrices that are tables, not maps between layers
BETAS = (0.9, 0.98)


class Joint(Optimizer):
    """Several optimisers of different parameters as one, for a trainer and a schedule that know one only."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> Any:
        """Evaluate the closure once, then step every part."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The parts' states in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore every part; the groups that a schedule changes stay the parts' own."""
        for part, content in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(content)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal before the step (Jordan 2024), at AdamW's update size.

    The same as ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")``, which iterates in bfloat16: on a CPU
    without bfloat16 units that costs ten times the rest of the step. This one works in float32, and on all
    matrices of one shape at once.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                size = 0.2 * math.sqrt(max(shape))  # Liu et al. 2025, "Muon is scalable", equation 4
                updates = orthogonal(torch.stack([self._momentum(p, group["momentum"]) for p in parameters]))
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * size)
        return loss

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov's average of gradients."""
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        gradient: Tensor = parameter.grad  # type: ignore[assignment]
        state["average"].lerp_(gradient, 1 - momentum)
        nesterov: Tensor = gradient.lerp(state["average"], momentum)
        return nesterov


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearly orthogonal matrices with the singular vectors of [N, R, C], by Newton and Schulz's iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


def recipe_optimizer(model: nn.Module, recipe: Recipe, steps: int) -> Any:
    """The tiny recipe's optimiser with its schedule: a cosine down to two percent."""
    warmup = max(1, round(recipe.warmup_fraction * steps))
    return scheduled(make_optimizer(model, recipe), "cosine", warmup, steps, floor=0.02)


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW; with ``muon`` the layers' matrices are stepped by Muon (Jordan 2024) at AdamW's update size.

    Weight decay holds for matrices only.
    """
    named = list(model.named_parameters())
    plain = [p for _, p in named if p.ndim <= 1]
    layers = [p for n, p in named if p.ndim == 2 and not any(word in n for word in OUTSIDE)]
    if recipe.optimizer == "adamw":
        layers = []
    inside = {id(p) for p in layers}
    rest = [p for _, p in named if p.ndim > 1 and id(p) not in inside]
    groups = [{"params": rest, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS)
    if not layers:
        return adam
    return Joint(Muon(layers, recipe.learning_rate, recipe.weight_decay), adam)
