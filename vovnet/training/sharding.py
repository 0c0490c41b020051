"""Weights spread over the ranks by torch's FSDP2 (Zhao et al. 2023), as Lightning's ModelParallelStrategy asks for.

Only the layers are spread, which is nearly all of a large model. The backbone is driven part by part and not by one
forward call, so what is used outside a layer (embeddings, norms, heads) stays whole on every rank.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from vovnet.vlm.protocol import VLM


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Spread the layers of every backbone in a module; average the other trained weights' gradients by hooks."""
    for backbone in [part for part in module.modules() if isinstance(part, VLM)]:
        for layer in layers_of(backbone.model):
            fully_shard(layer, mesh=mesh)
        backbone.sharded = True
    for parameter in module.parameters():
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            parameter.register_post_accumulate_grad_hook(_average)  # type: ignore[no-untyped-call]


def layers_of(model: Any) -> list[nn.Module]:
    """Layers of the language model and of the vision encoder: the longest list of modules in each, first of equals.

    Lists inside a list, such as the experts of a layer, are parts of it.
    """
    inner = set(model.get_decoder().modules())
    lists: list[list[nn.Module]] = []
    inside: set[nn.Module] = set()
    for part in model.modules():  # outer modules come first
        if isinstance(part, nn.ModuleList) and part not in inside:
            lists += [list(part)] if len(part) else []
            inside.update(part.modules())
    sides = ([one for one in lists if one[0] in inner], [one for one in lists if one[0] not in inner])
    return [layer for side in sides if side for layer in max(side, key=lambda one: len(one))]


def _average(parameter: Tensor) -> None:
    """Gradients of earlier micro-batches are averages already, so averaging the sum again is right."""
    assert parameter.grad is not None
    torch.distributed.all_reduce(parameter.grad)
    parameter.grad /= torch.distributed.get_world_size()


def kinds(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    """Spread and whole weights apart: torch's fused arithmetic takes no list of both."""
    every = list(parameters)
    spread: list[Tensor] = [p for p in every if isinstance(p, DTensor)]
    return [part for part in (spread, [p for p in every if not isinstance(p, DTensor)]) if part]


@torch.no_grad()
def clip_norm(parameters: Iterable[Tensor], most: float) -> None:
    """Scale all gradients so that their joint norm, over all ranks, is at most ``most``."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = [_whole(gradient.norm()) for gradient in gradients]
    scale = (most / (torch.stack(norms).norm() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.to(gradient.device))


def _whole(value: Any) -> Tensor:
    full: Tensor = value.full_tensor() if isinstance(value, DTensor) else value
    return full
