"""Pictures are cut into the very patches that the model's own image processor makes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vovnet.vlm.qwen.inputs import Pixels
from vovnet.vlm.qwen.patches import Cutter

CPU = torch.device("cpu")

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
    picture = np.asarray(Image.fromarray(pixels))
    expected, expected_grid = processed(processor, Image.fromarray(pixels))
    grid = cutter.grid(picture)
    assert torch.equal(Pixels.of([picture], ((0,),), cutter).patches(CPU, torch.float32), expected)
    assert list(grid) == expected_grid


@given(sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_pictures_of_several_sizes_are_cut_as_each_by_itself(sizes: list[tuple[int, int]], seed: int) -> None:
    cutter = Cutter(Qwen2VLImageProcessorPil(**PROCESSORS["qwen3"]))
    side = cutter.side * cutter.merge
    drawn = np.random.default_rng(seed)
    pictures = [drawn.integers(0, 256, (a * side, b * side, 3), dtype=np.uint8) for a, b in sizes]
    together = Pixels.of(pictures, (tuple(range(len(pictures))),), cutter)
    alone = [Pixels.of([picture], ((0,),), cutter).patches(CPU, torch.float32) for picture in pictures]
    assert torch.equal(together.patches(CPU, torch.float32), torch.cat(alone))
    assert together.contents() == [part.numpy().tobytes() for part in alone]


def test_another_type_rounds_the_processors_values() -> None:
    cutter = Cutter(Qwen2VLImageProcessorPil(**PROCESSORS["qwen25"]))
    pixels = Pixels.of([(np.arange(56 * 28 * 3) % 256).astype(np.uint8).reshape(56, 28, 3)], ((0,),), cutter)
    whole = pixels.patches(CPU, torch.float32)
    assert torch.equal(pixels.patches(CPU, torch.bfloat16), whole.bfloat16())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_cuts_the_same_patches() -> None:
    cutter = Cutter(Qwen2VLImageProcessorPil(**PROCESSORS["qwen3"]))
    pictures = [np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8) for seed in range(3)]
    pixels = Pixels.of(pictures, ((0, 1, 2),), cutter)
    found = pixels.pin_memory().patches(torch.device("cuda"), torch.float32)
    assert torch.equal(found.cpu(), pixels.patches(CPU, torch.float32))


def test_every_level_has_its_own_value() -> None:
    for settings in PROCESSORS.values():
        levels = Cutter(Qwen2VLImageProcessorPil(**settings)).levels
        assert levels.shape == (3, 256)
        assert (np.diff(levels, axis=1) > 0).all()
