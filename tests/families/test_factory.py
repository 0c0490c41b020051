"""Each shrunken checkpoint is one that its family's real classes load, run and read images with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.families.beside import checkpoints, has_torchvision
from tests.families.factory import FAMILIES, write

# isort: split
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

pytestmark = pytest.mark.skipif(not has_torchvision(), reason="test_beside.py runs it beside torchvision")

SHAPES = ((64, 64), (128, 96), (200, 20))
MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What color is the shape?"}]}]


class Loaded(NamedTuple):
    processor: Any
    model: Any
    prompt: str

    def inputs(self, image: Image.Image, **keys: Any) -> Any:
        made = self.processor(text=[self.prompt], images=[[image]], return_tensors="pt", **keys)
        made.pop("labels", None)  # PaliGemma's processor always makes them
        return made.to(torch.float32)  # Llama 4's pixels are bfloat16 whatever the model is

    def image_positions(self, image: Image.Image, keys: dict[str, Any]) -> int:
        ids = self.inputs(image, **({"images_kwargs": keys} if keys else {}))["input_ids"]
        return int((ids == image_token(self.model.config)).sum())


def image_token(config: Any) -> int:
    """The id that takes an image's place in `input_ids`; families name it in three ways."""
    names = ("image_token_id", "image_token_index", "image_patch_id")
    return next(int(getattr(config, name)) for name in names if getattr(config, name, None) is not None)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


@pytest.fixture(scope="session")
def load() -> Callable[[str], Loaded]:
    """Loads a family's folder."""

    def make(family: str) -> Loaded:
        folder = checkpoints() / family
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        assert not any(report.values()), report
        prompt = processor.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
        return Loaded(processor, model.eval(), prompt)

    return make


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # PaliGemma
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_reads_images_as_its_published_checkpoints_do(family: str, load: Callable[[str], Loaded]) -> None:
    loaded, row = load(family), FAMILIES[family]

    assert loaded.model.config.model_type == (row.model_type or family)
    assert "What color is the shape?" in loaded.prompt
    assert tuple(loaded.image_positions(picture(*shape), {}) for shape in SHAPES) == row.tokens
    assert tuple(loaded.image_positions(picture(*shape), row.coarse) for shape in SHAPES) == row.coarse_tokens
    assert sum(row.coarse_tokens) < sum(row.tokens) or not row.coarse

    inputs, other = loaded.inputs(picture(64, 64)), loaded.inputs(picture(64, 64, seed=1))
    answer = loaded.model.generate(**inputs, max_new_tokens=3)
    assert answer[0, : inputs["input_ids"].shape[1]].tolist() == inputs["input_ids"][0].tolist()
    assert 1 <= answer.shape[1] - inputs["input_ids"].shape[1] <= 3
    with torch.no_grad():
        one, two = (loaded.model(**made).logits[0, -1] for made in (inputs, other))
    assert 0.3 < one.std() < 3  # drawn for this width, not at the architectures' 0.02
    assert (one - two).abs().max() > 1e-2 * one.std()


def test_the_same_family_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write("qwen2_vl", tmp_path / name)

    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"config.json", "generation_config.json", "model.safetensors", "processor_config.json"} <= set(files)
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
