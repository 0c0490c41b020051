"""What a vision tower has to know of its images beside their patches: positions, bounds and windows.

All of it follows from the images' grids and some numbers of the architecture, so a size's is made once. Left to itself,
transformers makes it in every call, on a GPU by dozens of small kernels, and waits for the device to tell where images
end.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from vovnet.vlm.qwen.prompt import Grid

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
