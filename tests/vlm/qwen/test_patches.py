"""Pictures are cut into the very patches that the model's own image processor makes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vovnet.vlm.qwen.patches import Cutter

PROCESSORS = {
    "qwen3": {"patch_size": 16, "merge_size": 2, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    "qwen25": {"patch_size": 14, "merge_size": 2},
    "other": {"patch_size": 4, "merge_size": 1, "temporal_patch_size": 1, "do_normalize": False},
}


def processed(processor: Qwen2VLImageProcessorPil, picture: Image.Image) -> tuple[torch.Tensor, list[int]]:
    out = processor(images=[picture], do_resize=False, return_tensors="pt")
    return out["pixel_values"].to(torch.float32), out["image_grid_thw"][0].tolist()


@pytest.mark.parametrize("name", PROCESSORS)
@given(tokens=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 2**16))
def test_patches_are_the_processors(name: str, tokens: tuple[int, int], seed: int) -> None:
    processor = Qwen2VLImageProcessorPil(**PROCESSORS[name])
    cutter = Cutter(processor)
    height, width = (count * cutter.side * cutter.merge for count in tokens)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    patches, grid = cutter(Image.fromarray(pixels))
    expected, expected_grid = processed(processor, Image.fromarray(pixels))
    assert torch.equal(patches, expected)
    assert list(grid) == expected_grid


def test_every_level_has_its_own_value() -> None:
    for settings in PROCESSORS.values():
        levels = Cutter(Qwen2VLImageProcessorPil(**settings)).levels
        assert levels.shape == (3, 256)
        assert (np.diff(levels, axis=1) > 0).all()
