"""The vision tower over a batch's images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids

from vovnet.backbone.attention import BY_LENGTH
from vovnet.backbone.inputs import Pixels
from vovnet.backbone.pruning import prune


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


def encode(visual: Any, pixels: Pixels) -> Encoded:
    """Encode each distinct image once, and thin it out once."""
    pruning = pixels.pruning
    features, deepstack, counts = _encode_distinct(visual, pixels)
    if pruning is None:
        return Encoded(*_arrange(features, deepstack, counts, pixels), None)
    side = visual.spatial_merge_size
    pruned = [
        prune(levels, grid[1] // side, grid[2] // side, pruning, patches.numpy().tobytes())
        for levels, (patches, grid) in zip(
            torch.split(torch.stack([features, *deepstack]), counts, dim=1), pixels.images, strict=True
        )
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


def _encode_distinct(visual: Any, pixels: Pixels) -> tuple[Tensor, list[Tensor], list[int]]:
    """Features and DeepStack levels of the distinct images one after another, and each one's token count.

    Positions and bounds are worked out on the CPU, where they are known: on a GPU transformers would launch a dozen
    small kernels for every image, and every layer would wait for all work before it to learn where images end.
    """
    device, side = next(visual.parameters()).device, visual.spatial_merge_size
    # Images go to the device one by one: joined on the host they would be copied twice.
    patches = torch.cat([image.to(device, visual.dtype, non_blocking=True) for image, _ in pixels.images])
    grids = torch.tensor([grid for _, grid in pixels.images])
    bounds = get_vision_cu_seqlens(grids)
    attention = visual.config._attn_implementation
    out = visual(
        patches,
        grid_thw=grids.to(device),
        position_ids=get_vision_position_ids(grids, side).to(device),
        cu_seqlens=bounds.to(device) if attention.startswith("flash") and attention != BY_LENGTH else bounds,
        max_seqlen=int(bounds.diff().max()),
        return_dict=True,
    )
    counts = (grids.prod(-1) // side**2).tolist()
    return out.pooler_output, list(getattr(out, "deepstack_features", None) or []), counts


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
