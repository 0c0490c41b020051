"""The vision tower over a batch's images."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from vovnet.vlm.pruning import prune
from vovnet.vlm.qwen.attention import BY_LENGTH
from vovnet.vlm.qwen.inputs import Pixels
from vovnet.vlm.qwen.prompt import Grid

# What a vision tower needs of its images apart from their patches: positions, bounds and windows.
#
# All of it follows from the images' grids and some numbers of the architecture, so it is made once per size.
# transformers makes it in every call, on a GPU by dozens of small kernels, and waits for the device to learn where
# images end.

SIZES = 128  # grids that are remembered; one of 84 x 63 patches takes 0.3 MB


@dataclass(frozen=True)
class Tower:
    """The numbers of a vision tower on which positions depend.

    Attributes:
        merge: patches by a token's side.
        learned: positions by the side of a learned grid resampled to the image's (Qwen3-VL), where there is one.
        window: side of a window that attention stays in and of a patch, pixels (Qwen2.5-VL), where there are windows.
    """

    merge: int
    learned: int | None
    window: tuple[int, int] | None

    @classmethod
    def of(cls, visual: Any) -> "Tower":
        """Read them off transformers' module."""
        size = getattr(visual, "window_size", None)
        return cls(
            merge=visual.spatial_merge_size,
            learned=getattr(visual, "num_grid_per_side", None),
            window=None if size is None else (size, visual.patch_size),
        )


def tower_arguments(visual: Any, grids: Sequence[Grid], bounds_on: torch.device) -> dict[str, Any]:
    """Keyword arguments of the tower's forward for images one after another; it works out what is not handed over.

    Args:
        bounds_on: where its attention reads where images begin and end.
    """
    tower = Tower.of(visual)
    device = visual.patch_embed.proj.weight.device
    parts = [_of_one(tower, grid) for grid in grids]
    frames = [height * width for time, height, width in grids for _ in range(time)]
    found: dict[str, Any] = {
        "cu_seqlens": _bounds(frames).to(bounds_on),
        "max_seqlen": max(frames),
        "position_ids": _join([part["position_ids"] for part in parts]).to(device),
    }
    if tower.learned is not None:
        found |= {
            name: _join([part[name] for part in parts]).to(device) for name in ("interp_indices", "interp_weights")
        }
    if tower.window is not None:
        tokens = [len(part["window_index"]) for part in parts]
        begins = itertools.accumulate(tokens[:-1], initial=0)
        lengths = [length for part in parts for length in part["cu_window_seqlens"].diff().tolist()]
        windows = [part["window_index"] + begin for part, begin in zip(parts, begins, strict=True)]
        found |= {
            "window_index": _join(windows).to(device),
            "cu_window_seqlens": _bounds(lengths).to(bounds_on),
            "max_window_seqlen": max(lengths),
        }
    return found


@lru_cache(maxsize=SIZES)
def _of_one(tower: Tower, grid: Grid) -> dict[str, Tensor]:
    """An image's positions and windows, on the CPU."""
    # A tensor made in inference mode could not be used where gradients are asked for later.
    with torch.inference_mode(False):
        one = torch.tensor([grid])
        found = {"position_ids": get_vision_position_ids(one, tower.merge)}
        if tower.learned is not None:
            found["interp_indices"], found["interp_weights"] = get_vision_interpolation_indices_and_weights(
                one, tower.learned, mode="bilinear", align_corners=True, spatial_merge_size=tower.merge
            )
        if tower.window is not None:
            found["window_index"], found["cu_window_seqlens"] = get_vision_window_index(one, tower.merge, *tower.window)
    return found


def _bounds(lengths: Sequence[int]) -> Tensor:
    """Where each piece begins and the last one ends, int32 [pieces + 1]."""
    return torch.tensor(list(itertools.accumulate(lengths, initial=0)), dtype=torch.int32)


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


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
