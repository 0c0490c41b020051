"""Both families' small backbones, and questions of several lengths about several images."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.composer import composed
from tests.conftest import compose_config
from vovnet.actions import VISUAL_ACTIONS
from vovnet.compose import to_typed
from vovnet.data import Sample, item, load_dataset
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import Batch, Decoding
from vovnet.vlm.qwen.model import Backbone

GREEDY = Decoding(max_new_tokens=4, num_beams=1, do_sample=False, temperature=1.0)
Load = Callable[..., Backbone]


@pytest.fixture(scope="module", params=["qwen3", "qwen25"])
def load(request: pytest.FixtureRequest) -> Load:
    folder: Path = request.getfixturevalue(request.param)

    def make(order: str = "text_first", reuse: bool = True) -> Backbone:
        config = to_typed(composed("eval", [f"backbone.path={folder}", f"backbone.prompt_order={order}"]))
        return load_backbone(config.backbone, config.vision_budget, reuse)

    return make


@pytest.fixture(scope="module")
def items(easy_data: Path) -> list[tuple[int, Sample, str]]:
    config = compose_config(f"dataset.path={easy_data}")
    dataset = load_dataset(config.dataset, "test")
    step = len(dataset) // 16  # questions of several lengths about several images
    return [item(dataset, i) for i in range(0, step * 16, step)]


def build(backbone: Backbone, items: list) -> Batch:
    return backbone.builder.build(items, VISUAL_ACTIONS)
