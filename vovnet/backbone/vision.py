"""The vision tower over a batch's images."""

from typing import Any

import torch
from torch import Tensor

from vovnet.backbone.inputs import Pixels


def encode_images(visual: Any, pixels: Pixels) -> tuple[Tensor, list[Tensor]]:
    """Encode each distinct image once.

    Args:
        visual: the model's vision tower.
        pixels: distinct images, and which of them each sample shows.

    Returns:
        Features [tokens, D] in the order of the samples' image tokens, and the same for every
        DeepStack level (none for Qwen2.5-VL).
    """
    device = next(visual.parameters()).device
    patches = torch.cat([image for image, _ in pixels.images]).to(device, visual.dtype)
    grids = torch.tensor([grid for _, grid in pixels.images], device=device)
    out = visual(patches, grid_thw=grids, return_dict=True)
    counts = (grids.prod(-1) // visual.spatial_merge_size**2).tolist()
    order = [image for row in pixels.rows for image in row]
    as_encoded = order == list(range(len(counts)))

    def arrange(features: Tensor) -> Tensor:
        if as_encoded:
            return features
        parts = torch.split(features, counts)
        return torch.cat([parts[image] for image in order])

    return arrange(out.pooler_output), [arrange(f) for f in getattr(out, "deepstack_features", None) or []]
