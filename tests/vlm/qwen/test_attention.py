"""Images of one size attended to together give what they give one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import compose_config
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.qwen.attention import BY_LENGTH
from vovnet.vlm.qwen.inputs import Pixels
from vovnet.vlm.qwen.loading import load_model, load_processors
from vovnet.vlm.qwen.patches import Cutter
from vovnet.vlm.qwen.vision import encode_images, tower_arguments


def drawn(folder: Path, sizes: list[tuple[int, int]]) -> Pixels:
    """Random pictures of some rows x columns of patches."""
    cutter = Cutter(load_processors(folder)[1])
    shapes = [(rows * cutter.side, columns * cutter.side, 3) for rows, columns in sizes]
    pictures = [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    return Pixels.of(pictures, tuple((i,) for i in range(len(sizes))), cutter)


@pytest.mark.parametrize("checkpoint", ["qwen3", "qwen25"])
@pytest.mark.parametrize("grids", [[(1, 4, 4)] * 3, [(1, 4, 4), (1, 8, 4), (1, 4, 4), (1, 6, 10), (1, 8, 4)]])
def test_sdpa_by_length_equals_sdpa_image_by_image(
    checkpoint: str, grids: list[tuple[int, int, int]], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(checkpoint)
    config = compose_config(f"backbone.path={folder}", "backbone.packaged=false")
    visual = load_backbone(config.backbone, config.vision_budget).model.model.visual
    assert visual.config._attn_implementation == BY_LENGTH
    pixels = drawn(folder, [(height, wide) for _, height, wide in grids])
    together = encode_images(visual, pixels)
    transformers_own = load_model(config.backbone, find_checkpoint(config.backbone)).model.visual
    with torch.no_grad():
        one_by_one = encode_images(transformers_own, pixels)
    torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("checkpoint", ["qwen3", "qwen25"])
def test_images_seen_in_inference_mode_can_be_trained_on(checkpoint: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(checkpoint)
    config = compose_config(f"backbone.path={folder}", "backbone.packaged=false")
    visual = load_backbone(config.backbone, config.vision_budget).model.model.visual
    with torch.inference_mode():  # as in an evaluation, whose images are remembered
        pixels = drawn(folder, [(12, 4)])
        encode_images(visual, pixels)
    visual.requires_grad_(True)
    encode_images(visual, pixels)[0].sum().backward()
    assert visual.patch_embed.proj.weight.grad is not None


@pytest.mark.parametrize("checkpoint", ["qwen3", "qwen25"])
def test_what_the_tower_is_told_is_what_it_would_work_out(checkpoint: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(checkpoint)
    config = compose_config(f"backbone.path={folder}", "backbone.packaged=false")
    visual = load_backbone(config.backbone, config.vision_budget).model.model.visual
    torch.manual_seed(0)
    for grids in ([(1, 6, 4)], [(1, 4, 8), (2, 6, 6), (1, 4, 8), (1, 10, 2)]):
        patches = torch.randn(sum(t * h * w for t, h, w in grids), visual.patch_embed.proj.weight[0].numel())
        alone = visual(patches, grid_thw=torch.tensor(grids), return_dict=True)
        arguments = tower_arguments(visual, grids, torch.device("cpu"))
        handed = visual(patches, grid_thw=torch.tensor(grids), return_dict=True, **arguments)
        assert torch.equal(alone.pooler_output, handed.pooler_output)
