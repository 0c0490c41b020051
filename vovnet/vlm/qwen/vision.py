"""The vision tower over a batch's images."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from vovnet.vlm.pruning import prune
from vovnet.vlm.qwen.attention import BY_LENGTH
from vovnet.vlm.qwen.inputs import Pixels
from vovnet.vlm.qwen.prompt import Grid


def tower_arguments(visual: Any, grids: Sequence[Grid], bounds_on: torch.device) -> dict[str, Any]:
    """Where the tower's attention begins and ends; from a GPU's copy it would learn so by waiting, block by block.

    Args:
        grids: of images one after another, patches (time, height, width).
        bounds_on: where the implementation of attention reads the bounds.
    """
    frames = [height * width for time, height, width in grids for _ in range(time)]
    found: dict[str, Any] = {"cu_seqlens": _bounds(frames).to(bounds_on), "max_seqlen": max(frames)}
    if (size := getattr(visual, "window_size", None)) is not None:  # Qwen2.5-VL
        window, bounds = get_vision_window_index(
            torch.tensor(grids), visual.spatial_merge_size, size, visual.patch_size
        )
        found |= {
            "window_index": window.to(visual.patch_embed.proj.weight.device),
            "cu_window_seqlens": bounds.to(bounds_on),
            "max_window_seqlen": int(bounds.diff().max()),
        }
    return found


def _bounds(lengths: Sequence[int]) -> Tensor:
    """Where each piece begins and the last one ends, int32 [pieces + 1]."""
    return torch.tensor(list(itertools.accumulate(lengths, initial=0)), dtype=torch.int32)


@dataclass(frozen=True)
class Encoded:
    """A batch's image tokens.

    Attributes:
        features: the merger's output [tokens, D] in the order of the samples' image tokens.
        deepstack: the same for every DeepStack level; empty for Qwen2.5-VL.
        kept: per sample and image, which of the image's tokens are there; None where all are.
    """

    features: Tensor
    deepstack: list[Tensor]
    kept: tuple[tuple[np.ndarray, ...], ...] | None

    def split(self, tokens: Sequence[int]) -> "list[Encoded]":
        """Each sample's own images, of so many tokens."""
        parts = torch.split(torch.stack([self.features, *self.deepstack]), list(tokens), dim=1)
        kept = [None] * len(parts) if self.kept is None else [(one,) for one in self.kept]
        return [Encoded(part[0], list(part[1:]), own) for part, own in zip(parts, kept, strict=True)]


def encode(visual: Any, pixels: Pixels, one_by_one: bool = False) -> Encoded:
    """Encode each distinct image once, all together or one after another, and thin it out once."""
    pruning, seen = pixels.pruning, pixels.seen
    if torch.is_grad_enabled() or not seen:
        features, deepstack, counts = _encode_distinct(visual, pixels, one_by_one)
        if seen is not None and not torch.is_grad_enabled():
            seen.append((features, deepstack, counts))
    else:
        features, deepstack, counts = seen[0]
    if pruning is None:
        return Encoded(*_arrange(features, deepstack, counts, pixels), None)
    side = visual.spatial_merge_size
    contents = pixels.contents() if pruning.mode == "random" else [b""] * len(counts)
    parts = torch.split(torch.stack([features, *deepstack]), counts, dim=1)
    pruned = [
        prune(levels, height // side, width // side, pruning, content)
        for levels, (_, height, width), content in zip(parts, pixels.shapes, contents, strict=True)
    ]
    joined = torch.cat([pruned[image].levels for row in pixels.rows for image in row], dim=1)
    kept = tuple(tuple(pruned[image].kept.numpy() for image in row) for row in pixels.rows)
    return Encoded(joined[0], list(joined[1:]), kept)


def encode_images(visual: Any, pixels: Pixels) -> tuple[Tensor, list[Tensor]]:
    """Encode each distinct image once.

    Args:
        visual: the model's vision tower.
        pixels: distinct images, and which of them each sample shows.

    Returns:
        Features [tokens, D] in the order of the samples' image tokens, and the same for every
        DeepStack level (none for Qwen2.5-VL).
    """
    return _arrange(*_encode_distinct(visual, pixels), pixels)


def _encode_distinct(visual: Any, pixels: Pixels, one_by_one: bool = False) -> tuple[Tensor, list[Tensor], list[int]]:
    """Features and DeepStack levels of the distinct images one after another, and each one's token count."""
    weight = visual.patch_embed.proj.weight
    patches = pixels.patches(weight.device, weight.dtype)
    counts = [math.prod(grid) // visual.spatial_merge_size**2 for grid in pixels.shapes]
    if not one_by_one:
        return *_see(visual, patches, pixels.shapes), counts
    each = torch.split(patches, [math.prod(grid) for grid in pixels.shapes])
    seen = [_see(visual, part, (grid,)) for part, grid in zip(each, pixels.shapes, strict=True)]
    levels = zip(*(deepstack for _, deepstack in seen), strict=True)
    return torch.cat([features for features, _ in seen]), [torch.cat(level) for level in levels], counts


def _see(visual: Any, patches: Tensor, grids: tuple[Grid, ...]) -> tuple[Tensor, list[Tensor]]:
    """Features and DeepStack levels of images in one pass of the tower."""
    weight = visual.patch_embed.proj.weight
    attention = visual.config._attn_implementation
    flash = attention.startswith("flash") and attention != BY_LENGTH
    out = visual(
        patches,
        grid_thw=torch.tensor(grids, device=weight.device),
        return_dict=True,
        **tower_arguments(visual, grids, bounds_on=weight.device if flash else torch.device("cpu")),
    )
    return out.pooler_output, list(getattr(out, "deepstack_features", None) or [])


def _arrange(
    features: Tensor, deepstack: list[Tensor], counts: list[int], pixels: Pixels
) -> tuple[Tensor, list[Tensor]]:
    order = [image for row in pixels.rows for image in row]
    if order == list(range(len(counts))):
        return features, deepstack
    begins = np.cumsum([0, *counts])
    tokens = np.concatenate([np.arange(begins[image], begins[image + 1]) for image in order])
    index = torch.from_numpy(tokens).to(features.device)
    # Not features[index]: its gradient adds up in an order that differs from run to run.
    return features.index_select(0, index), [level.index_select(0, index) for level in deepstack]
