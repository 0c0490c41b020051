"""The tiny backbone: its recipe at small size, and the checkpoint that ships."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.tiny_backbone.__main__ import configured
from experiments.tiny_backbone.batches import StepBatches, shuffled
from experiments.tiny_backbone.checkpoint import write_untrained
from experiments.tiny_backbone.train import train_tiny_backbone
from tests.conftest import SIZES, compose_config
from vovnet.actions import Action
from vovnet.data import Sample, load_dataset
from vovnet.results.evaluate import evaluate
from vovnet.training.order import StepLoader
from vovnet.training.steps import newest_checkpoint
from vovnet.vlm.files import PACKAGED, find_checkpoint, open_checkpoint
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import Batch

SETS = ("mmbench", "mmmu", "textvqa")
SMALL = {"num_layers": 1, "vision_depth": 1, "hidden_size": 48, "intermediate_size": 64}
SMALL |= {"vision_hidden_size": 48, "vision_intermediate_size": 64}


def test_the_same_seed_writes_the_same_checkpoint(tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_untrained(tmp_path / name, SIZES, ["is it red? yes"], seed)
        prints.append(open_checkpoint(tmp_path / name).fingerprint)
    assert prints[0] == prints[1] != prints[2]


@pytest.fixture
def recipe(easy_data: Path, tmp_path: Path):
    def make(steps: int):
        given = (
            f"dataset.parts.easy_vqa.path={easy_data}",
            *(f"dataset.parts.mini_{name}.generate.{split}_images=12" for name in SETS for split in ("train", "test")),
            f"paths.runs={tmp_path}",
            "recipe.batch_size=8",
            "recipe.save_every=6",
            "recipe.val_fraction=0.2",
            f"recipe.phases=[{{steps: 4, questions: open, branch_weights: [0, 0, 1], set_weights: {{}}}},"
            f"{{steps: {steps - 4}, questions: all, branch_weights: [1, 1, 1], set_weights: {{}}}}]",
            "recipe.vision_steps=3",
            "recipe.vision_batch_size=4",
            *(f"recipe.architecture.{key}={value}" for key, value in SMALL.items()),
            "recipe.word_loss.layer=1",
        )
        return configured(given)

    return make


def test_batches_depend_on_the_step_only(recipe, easy_data: Path) -> None:
    config, training = recipe(12)
    builder = load_backbone(compose_config().backbone, config.vision_budget).builder
    dataset = load_dataset(config.dataset, "train")
    groups = {dataset[i].group for i in range(len(dataset))}

    def make() -> StepBatches:
        return StepBatches(dataset, groups, builder, training)

    whole = list(StepLoader(make()))
    assert len(whole) == 12
    resumed = StepLoader(make())
    resumed.load_state_dict({"position": 7})
    for a, b in zip(whole[7:], resumed, strict=True):
        assert (a.batch.indices, a.action, a.words) == (b.batch.indices, b.action, b.words)
    assert all(step.action is Action.FULL for step in whole[:4])
    assert all(dataset[i].answers[0] not in ("yes", "no") for step in whole[:4] for i in step.batch.indices)


def test_questions_about_one_image_share_its_encoding(recipe) -> None:
    config, training = recipe(12)
    builder = load_backbone(compose_config().backbone, config.vision_budget).builder
    dataset = load_dataset(config.dataset, "train")
    batch: Batch = StepBatches(dataset, {dataset[i].group for i in range(len(dataset))}, builder, training)[0].batch
    assert len(batch.images[Action.FULL].shapes) < len(batch)


@pytest.mark.slow
def test_a_stopped_recipe_goes_on_to_the_same_weights(recipe, tmp_path: Path, monkeypatch) -> None:
    config, training = recipe(12)
    before = torch.get_num_threads()
    whole = train_tiny_backbone(config, training, tmp_path / "whole")
    assert torch.get_num_threads() == before  # what the process does next rounds as it would have

    original = StepBatches.__getitem__

    def stop(self: StepBatches, step: int):
        if step == 9:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(StepBatches, "__getitem__", stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train_tiny_backbone(config, training, tmp_path / "stopped")
    assert newest_checkpoint(tmp_path / "stopped/steps", "tiny") is not None
    monkeypatch.setattr(StepBatches, "__getitem__", original)
    resumed = train_tiny_backbone(config, training, tmp_path / "stopped")
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_the_packaged_checkpoint_is_a_small_genuine_qwen3_vl() -> None:
    checkpoint = find_checkpoint(compose_config().backbone)
    assert checkpoint.folder == PACKAGED / "tiny"
    assert checkpoint.config["model_type"] == "qwen3_vl"
    assert checkpoint.config["vision_config"]["deepstack_visual_indexes"]
    assert (checkpoint.folder / "model.safetensors").stat().st_size < 16 * 2**20
    assert (checkpoint.folder / "README.md").exists()
    backbone = load_backbone(compose_config().backbone, compose_config().vision_budget)
    assert type(backbone.model).__name__ == "Qwen3VLForConditionalGeneration"
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not backbone.training


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "full", "coarse", "no"), [("easy_vqa", 0.97, 0.92, 0.62), ("mini", 0.9, 0.65, 0.25)]
)
def test_the_packaged_checkpoint_reaches_its_targets(
    tmp_path: Path, mini_data: Path, dataset: str, full: float, coarse: float, no: float
) -> None:
    """Over 240 test questions; the card states the figures of all. On the mini sets each look is worth 0.15."""
    accuracy = {}
    for name in ("always_full", "always_coarse", "no_vision"):
        places = f"paths.runs={tmp_path}", f"paths.data={mini_data}"
        overrides = f"policy/baseline={name}", f"dataset={dataset}", *places, "eval.max_samples=240"
        accuracy[name] = evaluate(compose_config(*overrides), tmp_path / name).row.accuracy
    assert accuracy["always_full"] >= full
    assert coarse <= accuracy["always_coarse"] <= accuracy["always_full"] - (0.15 if dataset == "mini" else 0.02)
    assert no <= accuracy["no_vision"] <= accuracy["always_coarse"] - 0.15


def test_weights_are_finite() -> None:
    backbone = load_backbone(compose_config().backbone, compose_config().vision_budget)
    assert all(bool(torch.isfinite(p).all()) for p in backbone.parameters())


def test_shuffled_options_keep_the_answer() -> None:
    sample = Sample("1", "Which?", (), ("C",), "g", "c", options=("red", "green", "blue", "yellow"))
    orders = set()
    for seed in range(20):
        other = shuffled(sample, np.random.default_rng(seed))
        assert sorted(other.options) == sorted(sample.options)
        assert other.options["ABCD".index(other.answers[0])] == "blue"
        orders.add(other.options)
    assert len(orders) > 5
    images = replace(sample, options=("<image 1>", "<image 2>"), answers=("A",))
    assert shuffled(images, np.random.default_rng(0)) == images
