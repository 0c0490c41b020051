"""Images of one size attended to together give what they give one by one."""

from pathlib import Path

import pytest
import torch

from tests.conftest import compose_config
from vovnet.backbone.attention import BY_LENGTH
from vovnet.backbone.inputs import Pixels
from vovnet.backbone.loading import load_backbone
from vovnet.backbone.vision import encode_images


@pytest.mark.parametrize("checkpoint", ["qwen3", "qwen25"])
@pytest.mark.parametrize("grids", [[(1, 4, 4)] * 3, [(1, 4, 4), (1, 8, 4), (1, 4, 4), (1, 6, 10), (1, 8, 4)]])
def test_sdpa_by_length_equals_sdpa_image_by_image(
    checkpoint: str, grids: list[tuple[int, int, int]], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(checkpoint)
    config = compose_config(f"backbone.path={folder}", "backbone.packaged=false")
    visual = load_backbone(config.backbone, config.vision_budget).model.model.visual
    assert visual.config._attn_implementation == BY_LENGTH
    width = visual.patch_embed.proj.weight[0].numel()
    torch.manual_seed(0)
    images = tuple((torch.randn(height * wide, width), (1, height, wide)) for _, height, wide in grids)
    pixels = Pixels(images, tuple((i,) for i in range(len(grids))))
    together = encode_images(visual, pixels)
    visual.config._attn_implementation = "sdpa"
    one_by_one = encode_images(visual, pixels)
    torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-6)
