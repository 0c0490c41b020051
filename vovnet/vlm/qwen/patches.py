"""Cutting pictures into patches on the device that reads them, as a model's own image processor does on a CPU.

A picture travels as its bytes, an eighth of its patches in float32 with each frame twice. The processor takes each of
256 levels through float64 arithmetic pixel by pixel; here it does so once for every level, and pixels are looked up.
So patches are the processor's to the bit on any device, rounded to the model's type.
"""

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vovnet.fingerprint import digest
from vovnet.vlm.qwen.prompt import Grid

LEVELS = 256
CHANNELS = 3


class Cutter:
    """Normalises and cuts RGB pictures whose sides are multiples of a token's; picklable.

    Args:
        processor: Qwen2-VL's, which both families use.
    """

    def __init__(self, processor: Any) -> None:
        self.side, self.merge = processor.patch_size, processor.merge_size  # pixels, patches
        self.frames = processor.temporal_patch_size  # a picture is shown as that many equal ones
        self.levels = self._normalised(processor)

    def grid(self, picture: np.ndarray) -> Grid:
        """Frames, rows and columns of the patches of a picture, uint8 [height, width, channels]."""
        return 1, picture.shape[0] // self.side, picture.shape[1] // self.side

    def __call__(self, pixels: Tensor, grids: Sequence[Grid], device: torch.device, dtype: torch.dtype) -> Tensor:
        """Patches of pictures one after another, [P, channels * frames * side * side] in the order of their tokens.

        Args:
            pixels: of all pictures, uint8 [bytes].
        """
        sizes = [rows * columns * self.side**2 * CHANNELS for _, rows, columns in grids]
        values = torch.from_numpy(self.levels).to(device, dtype)
        pixels, begin, found = pixels.to(device, non_blocking=True), 0, []
        for grid, alike in itertools.groupby(zip(grids, sizes, strict=True), key=lambda pair: pair[0]):
            end = begin + sum(size for _, size in alike)  # neighbours of one size are cut together
            found.append(self._looked_up(self._cut(pixels[begin:end], grid), values))
            begin = end
        return found[0] if len(found) == 1 else torch.cat(found)

    def _cut(self, pixels: Tensor, grid: Grid) -> Tensor:
        """uint8 [P, channels, side * side] of pictures of one size; token by token, within one row by row."""
        rows, columns, merge, side = grid[1] // self.merge, grid[2] // self.merge, self.merge, self.side
        parts = pixels.view(-1, rows, merge, side, columns, merge, side, CHANNELS)
        return parts.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, CHANNELS, side**2)

    def _looked_up(self, cut: Tensor, values: Tensor) -> Tensor:
        """Each level's value, [P, channels * frames * side * side]."""
        out = values.new_empty(len(cut), CHANNELS, self.frames, cut.shape[-1])
        for channel in range(CHANNELS):
            chosen = values[channel].index_select(0, cut[:, channel].reshape(-1).int())
            out[:, channel] = chosen.view(len(cut), 1, -1)
        return out.view(len(cut), -1)

    def _normalised(self, processor: Any) -> np.ndarray:
        """What the processor makes of each level, float32 [channels, 256]."""
        token = self.side * self.merge  # pixels
        height = -(-LEVELS // token**2) * token
        ramp = (np.arange(height * token) % LEVELS).astype(np.uint8).reshape(height, token, 1)
        picture = np.repeat(ramp, CHANNELS, axis=2)
        made = processor(images=[Image.fromarray(picture)], do_resize=False, return_tensors="np")["pixel_values"]
        pixels = self._cut(torch.from_numpy(picture).view(-1), self.grid(picture)).numpy()
        seen = made.astype(np.float32).reshape(len(pixels), CHANNELS, self.frames, -1)[:, :, 0]
        levels = np.empty((CHANNELS, LEVELS), dtype=np.float32)
        for channel in range(CHANNELS):
            levels[channel, pixels[:, channel]] = seen[:, channel]
        return levels


def cut_digest(image_processor: Any) -> str:
    """Digest of a fixed picture's patches, by which versions that cut differently are told apart."""
    side = image_processor.patch_size * image_processor.merge_size
    levels = np.arange(side * 2 * side * 3).reshape(side, 2 * side, 3) % 251
    cut, picture = Cutter(image_processor), levels.astype(np.uint8)
    grid = cut.grid(picture)
    patches = cut(torch.from_numpy(picture).view(-1), [grid], torch.device("cpu"), torch.float32)
    return digest([grid, hashlib.sha256(patches.numpy().tobytes()).hexdigest()])
