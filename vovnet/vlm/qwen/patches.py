"""Cutting pictures into patches, as a model's own image processor does and in half its time.

The processor takes each of 256 levels through float64 arithmetic pixel by pixel. Here it does so once for every level,
and pixels are looked up.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vovnet.fingerprint import digest
from vovnet.vlm.qwen.prompt import Grid

LEVELS = 256
CHANNELS = 3
Patches = tuple[Tensor, Grid]  # pixel patches [P, patch_dim] of one image, and its grid


class Cutter:
    """Normalises and cuts RGB pictures whose sides are multiples of a token's.

    Args:
        processor: Qwen2-VL's, which both families use.
    """

    def __init__(self, processor: Any) -> None:
        self.side, self.merge = processor.patch_size, processor.merge_size  # pixels, patches
        self.frames = processor.temporal_patch_size  # a picture is shown as that many equal ones
        self.levels = self._normalised(processor)

    def __call__(self, picture: Image.Image) -> Patches:
        """Patches, float32 [P, channels * frames * side * side] in the order of the tokens that they make up."""
        pixels, grid = self._cut(np.asarray(picture))
        out = np.empty((len(pixels), CHANNELS, self.frames, self.side**2), dtype=np.float32)
        for channel, levels in enumerate(self.levels):
            out[:, channel] = levels[pixels[:, channel]][:, None]
        return torch.from_numpy(out.reshape(len(out), -1)), grid

    def _cut(self, pixels: np.ndarray) -> tuple[np.ndarray, Grid]:
        """uint8 [P, channels, side * side] of [height, width, channels], and the grid; token by token, within one row
        by row."""
        height, width = (size // self.side for size in pixels.shape[:2])
        parts = pixels.reshape(
            height // self.merge, self.merge, self.side, width // self.merge, self.merge, self.side, CHANNELS
        )
        return parts.transpose(0, 3, 1, 4, 6, 2, 5).reshape(height * width, CHANNELS, -1), (1, height, width)

    def _normalised(self, processor: Any) -> np.ndarray:
        """What the processor makes of each level, float32 [channels, 256]."""
        token = self.side * self.merge  # pixels
        height = -(-LEVELS // token**2) * token
        ramp = (np.arange(height * token) % LEVELS).astype(np.uint8).reshape(height, token, 1)
        picture = np.repeat(ramp, CHANNELS, axis=2)
        made = processor(images=[Image.fromarray(picture)], do_resize=False, return_tensors="np")["pixel_values"]
        pixels, _ = self._cut(picture)
        seen = made.astype(np.float32).reshape(len(pixels), CHANNELS, self.frames, -1)[:, :, 0]
        levels = np.empty((CHANNELS, LEVELS), dtype=np.float32)
        for channel in range(CHANNELS):
            levels[channel, pixels[:, channel]] = seen[:, channel]
        return levels


def cut_digest(image_processor: Any) -> str:
    """Digest of a fixed picture's patches, by which versions that cut differently are told apart."""
    side = image_processor.patch_size * image_processor.merge_size
    levels = np.arange(side * 2 * side * 3).reshape(side, 2 * side, 3) % 251
    patches, grid = Cutter(image_processor)(Image.fromarray(levels.astype(np.uint8)))
    found = [grid, hashlib.sha256(patches.numpy().tobytes()).hexdigest()]
    return digest(found)
