"""Collection on a GPU (VOVNET_GPU=1): JPEG files, loader workers and CUDA graphs at once."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import compose_config
from vovnet.actions import USUAL
from vovnet.data import load_dataset
from vovnet.outcomes.load import Loaded, load_outcomes
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.qwen.graphs import Step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and VOVNET_GPU=1")
LENGTHS, PER_LENGTH = 7, 24  # questions of so many lengths, each in a column count of its own
BATCH_SIZES = range(2, 10)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL set of JPEGs that differ in size, and of questions that differ in length."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(LENGTHS * PER_LENGTH):
        height, width = rng.integers(120, 260, 2)
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((int(width), int(height))).save(folder / f"{number}.jpg")
        question = "what color is the shape? " * (1 + number % LENGTHS * 18)
        lines.append({"image": f"{number}.jpg", "question": question, "answers": ["red"]})
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def talker(qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose answers never end: every batch takes all its steps."""
    folder = tmp_path_factory.mktemp("talker") / "checkpoint"
    shutil.copytree(qwen3, folder)
    weights = load_file(folder / "model.safetensors")
    ends = json.loads((folder / "config.json").read_text())["text_config"]["eos_token_id"]
    weights["lm_head.weight"][ends] = 0  # below the largest logit of any text
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def collect(photos: Path, talker: Path, store: Path, *overrides: str) -> Loaded:
    config = compose_config(
        "dataset=jsonl", f"dataset.path={photos}", f"backbone.path={talker}", "backbone.device=cuda",
        "vision_budget.full.long_side=256", "vision_budget.full.max_pixels=65536", f"paths.store={store}",
        "eval.max_new_tokens=16", *overrides,
    )  # fmt: skip
    dataset = load_dataset(config.dataset, "test")
    return load_outcomes(config, find_checkpoint(config.backbone), dataset, USUAL, len(dataset))


def test_workers_may_pin_memory_while_a_graph_is_captured(
    photos: Path, talker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: set[tuple[int, int]] = set()  # rows and columns
    capture = Step.capture

    def count(step: Step, pool: object) -> None:
        capture(step, pool)
        captured.add((step.held.shape[1], step.held.shape[3]))

    monkeypatch.setattr(Step, "capture", count)
    for size in BATCH_SIZES:
        store = tmp_path / f"store-{size}"
        found = collect(photos, talker, store, f"eval.batch_size={size}", "eval.num_workers=4")
        assert set(found.computed.values()) == {LENGTHS * PER_LENGTH}
    assert len(captured) >= 50

    alone = collect(photos, talker, tmp_path / "alone", f"eval.batch_size={size}", "eval.num_workers=0")
    for action in USUAL:
        one, other = (loaded.outcomes.branches[action] for loaded in (found, alone))
        assert one.prediction.tolist() == other.prediction.tolist()
        assert set(one.generated_tokens.tolist()) == {16}
