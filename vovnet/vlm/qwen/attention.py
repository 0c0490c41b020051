"""Attention of the vision tower over all images of one size in one call, and what torch.compile fuses."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

# transformers hands all images over in one piece, with their bounds, if an implementation has "flash" in its name.
BY_LENGTH = "flash_like_sdpa_by_length"


def attend_by_length(model: Any) -> None:
    """Let a vision tower that uses sdpa attend to images of one size together; the numbers stay what they were."""
    vision = model.model.visual.config
    if vision._attn_implementation == "sdpa":
        AttentionInterface.register(BY_LENGTH, sdpa_by_length)
        vision._attn_implementation = BY_LENGTH


@torch.compiler.disable  # type: ignore[untyped-decorator]  # bounds differ from batch to batch; what stands around it is compiled
def sdpa_by_length(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attention within each image.

    Args:
        query, key, value: [1, heads, P, head_dim], the patches of all images one after another.
        cu_seq_lens_q: where each image begins, and where the last one ends, in patches [images + 1].

    Returns:
        [1, P, heads, head_dim], and no weights.
    """
    begins = _begins(cu_seq_lens_q.tolist())
    if len(begins) == 1:  # they stand in order already
        return _attend([query[0], key[0], value[0]], len(begins[0][1]), scaling), None
    order = torch.cat([torch.tensor(at).repeat_interleave(n) + torch.arange(n).repeat(len(at)) for n, at in begins])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    joined = torch.cat([query, key, value]).index_select(2, order.to(query.device))
    parts = torch.split(joined, [length * len(at) for length, at in begins], dim=2)
    out = [_attend(part.unbind(), len(at), scaling) for part, (_, at) in zip(parts, begins, strict=True)]
    return torch.cat(out, dim=1).index_select(1, place.to(query.device)), None


def _attend(inputs: Sequence[Tensor], images: int, scaling: float) -> Tensor:
    """Attention within each of some images of one size: query, key and value [heads, P, head_dim], the result
    [1, P, heads, head_dim]."""
    heads, patches, width = inputs[0].shape
    query, key, value = (part.reshape(heads, images, patches // images, width).transpose(0, 1) for part in inputs)
    attended = nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
    return attended.transpose(1, 2).flatten(0, 1)[None]


def _begins(bounds: list[int]) -> list[tuple[int, list[int]]]:
    """For each length, where the images of that length begin; in patches."""
    found: dict[int, list[int]] = {}
    for begin, end in itertools.pairwise(bounds):
        found.setdefault(end - begin, []).append(begin)
    return list(found.items())


TEXT = ("RMSNorm", "MLP")  # whole layers would be compiled once each, since the cache is indexed by the layer's number


def compile_parts(model: Any) -> list[nn.Module]:
    """Let the first call of each kind of part compile it; returns the parts.

    The last bits of what they yield change, as under another attention kernel.
    """
    # All norms are one piece of code to it: shapes of three and four axes, one row or many, one token or many.
    torch._dynamo.config.recompile_limit = 64
    inner = model.model
    parts = [m for m in inner.language_model.modules() if type(m).__name__.endswith(TEXT)]
    parts += inner.visual.blocks
    for part in parts:
        part.compile()
    return parts


def uncompile(parts: list[nn.Module]) -> None:
    """Undo it."""
    for part in parts:
        part._compiled_call_impl = None
    torch._dynamo.reset()
