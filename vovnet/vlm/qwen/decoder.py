"""One pass of the language model over new tokens, layer by layer.

Transformers' own forward asks in every pass what it may be asked to yield, and works out a mask for any pattern of
attention. On a small model that takes as long as a layer or two.
"""

import inspect
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from vovnet.vlm.qwen.fused import CHANGING

FULL = "full_attention"
OTHER_MASKS = {FULL: create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}


def read(
    language: Any,
    embeds: Tensor,
    mask: Tensor,
    rotation: tuple[Tensor, Tensor],
    cache: Any,
    places: Tensor | None = None,
    deepstack: list[Tensor] | None = None,
) -> Tensor:
    """Hidden states [B, new, D] of new tokens, after all that a cache holds; the cache grows in place.

    Args:
        language: the text model, Qwen3-VL's or Qwen2.5-VL's.
        embeds: of the new tokens, [B, new, D].
        mask: which of all columns are real, [B, L]; or what is added to the scores, [B, 1, new, L].
        rotation: ``language.rotary_emb`` of their positions, each [B, new, head_dim].
        places: where images stand among the new tokens, [B, new].
        deepstack: what is added there after each of the first layers, [places, D] each (Meng et al. 2024).
    """
    kinds = getattr(language.config, "layer_types", None) or [FULL] * len(language.layers)  # Qwen3-VL names none
    masks = {kind: _mask(language.config, kind, embeds, mask, cache) for kind in set(kinds)}
    at = places.flatten().nonzero()[:, 0] if places is not None and deepstack else None
    hidden, name = embeds, _cache_argument(language.layers[0])
    for number, layer in enumerate(language.layers):
        hidden = layer(
            hidden,
            attention_mask=masks[kinds[number]],
            position_embeddings=rotation,
            use_cache=cache is not None,
            **{name: cache},
        )
        if at is not None and deepstack is not None and number < len(deepstack):
            flat = hidden.flatten(0, 1).index_add(0, at, deepstack[number].to(hidden.dtype))
            hidden = flat.view_as(hidden)
    normed: Tensor = language.norm(hidden)
    return normed


def _cache_argument(layer: Any) -> str:
    """What a decoder layer calls its cache: ``cache`` from transformers 5.24 on."""
    return "cache" if "cache" in _parameters(type(layer).forward) else "past_key_values"


@lru_cache(maxsize=8)
def _parameters(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def rotations(language: Any, like: Tensor, positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Of one token after another, each [B, 1, head_dim], at once where frequencies do not depend on how far it goes.

    Args:
        like: anything of the model's type, on its device.
        positions: of all of them, [3, B, tokens].
    """
    if language.rotary_emb.rope_type in CHANGING:
        for position in positions.split(1, dim=2):  # type: ignore[no-untyped-call]
            yield language.rotary_emb(like, position)
    else:
        yield from zip(*(part.split(1, dim=1) for part in language.rotary_emb(like, positions)), strict=True)


def _mask(config: Any, kind: str, embeds: Tensor, mask: Tensor, cache: Any) -> Tensor | None:
    """As an implementation of attention takes it."""
    if mask.ndim == 4:
        return mask
    if kind == FULL and config._attn_implementation == "sdpa":
        return causal_mask(mask, embeds.shape[1])
    made: Tensor | None = OTHER_MASKS[kind](
        config=config, inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, position_ids=None
    )
    return made


def causal_mask(mask: Tensor, new: int) -> Tensor | None:
    """Which of L columns each of the last ``new`` ones sees, bool [B, 1, new, L]; ``mask`` says which are real, [B, L].

    None where sdpa needs none: nothing is padded, and it is one token or all of them.
    """
    real, length = mask.bool(), mask.shape[1]
    if new in (1, length) and bool(real.all()):
        return None
    if new == 1:
        return real[:, None, None]
    columns = torch.arange(length, device=mask.device)
    return real[:, None, None] & (columns <= columns[length - new :, None])
