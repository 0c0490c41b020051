"""The word loss: a middle layer has to know what an image shows before a later one finds its letter."""

from dataclasses import replace

import pytest
import torch

from experiments.tiny_backbone.recipe import WordLoss
from experiments.tiny_backbone.words import WordHead, answer_word
from tests.conftest import compose_config
from vovnet.actions import Action
from vovnet.data import item, load_dataset
from vovnet.vlm.loading import load_backbone


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory):
    """Multiple-choice questions of mini_mmbench."""
    sizes = (f"dataset.generate.{split}_images=40" for split in ("train", "test"))
    config = compose_config("dataset=mini_mmbench", *sizes, f"paths.runs={tmp_path_factory.mktemp('runs')}")
    return load_dataset(config.dataset, "test")


def test_the_word_is_that_of_the_right_option_and_only_where_an_image_was_looked_at(choices) -> None:
    looked = next(s for i in range(40) if (s := choices[i]).supercategory != "text")
    told = next(s for i in range(40) if (s := choices[i]).supercategory == "text")
    right = looked.options["ABCD".index(looked.answers[0])]
    assert answer_word(looked, Action.FULL) == answer_word(looked, Action.COARSE) == right
    assert answer_word(looked, Action.NO) is None
    assert answer_word(told, Action.FULL) is None
    assert answer_word(replace(looked, options=()), Action.FULL) is None
    assert answer_word(replace(looked, options=("<image 1>", "<image 2>"), answers=("A",)), Action.FULL) is None


def test_the_loss_is_read_at_the_last_prompt_token_after_the_given_layers(choices) -> None:
    config = compose_config()
    backbone = load_backbone(config.backbone, config.vision_budget)
    head = WordHead(backbone, WordLoss(layer=2, weight=1.0))
    batch = backbone.builder.build([item(choices, i) for i in range(4)], [Action.FULL])
    words = (5, None, 9, None)
    with torch.no_grad():
        backbone.training_nll(batch, Action.FULL)
        loss = head.loss(words, max(map(len, batch.references)))
        layers = backbone.model.model.language_model.layers
        backbone.model.model.language_model.layers = layers[:2]  # the same model, cut off after that layer
        prefill = backbone.look(batch, Action.FULL, backbone.text_pass(batch))
    expected = torch.nn.functional.cross_entropy(prefill.logits[[0, 2]], torch.tensor([5, 9]))
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_without_words_the_loss_is_zero_and_without_a_pass_it_is_an_error(choices) -> None:
    config = compose_config()
    backbone = load_backbone(config.backbone, config.vision_budget)
    head = WordHead(backbone, WordLoss(layer=1, weight=1.0))
    batch = backbone.builder.build([item(choices, 0)], [])
    backbone.training_nll(batch, Action.NO)
    assert float(head.loss((None,), 1)) == 0.0
    with pytest.raises(RuntimeError, match="nothing"):
        head.loss((None,), 1)
