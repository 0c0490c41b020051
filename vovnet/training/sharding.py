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
    """Layers of the language model and of the vision encoder: the longest list of modules in each."""
    decoder = model.get_decoder()
    inner = set(decoder.modules())
    outer = [part for part in model.modules() if part not in inner]
    found: list[nn.Module] = []
    for parts in (inner, outer):
        lists = [list(part) for part in parts if isinstance(part, nn.ModuleList)]
        lists.sort(key=len)
        found += lists[-1] if lists else []
    return found


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
