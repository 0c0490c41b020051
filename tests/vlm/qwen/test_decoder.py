"""The decoder driven layer by layer yields what the model's own forward does, under the same masks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache

from tests.conftest import compose_config
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.qwen.decoder import causal_mask, read, rotations

PADDING = [0, 2, 5]  # columns before each row's first token
COLUMNS = 11


def language_model(folder: Path, attention: str = "sdpa") -> Any:
    config = compose_config(f"backbone.path={folder}", f"backbone.attn_implementation={attention}")
    return load_backbone(config.backbone, config.vision_budget).model.model.language_model


def columns(language: Any, count: int = COLUMNS) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [3, count, D], which of them are real, and positions that differ by axis."""
    torch.manual_seed(0)
    embeds = torch.randn(len(PADDING), count, language.config.hidden_size)
    mask = torch.ones(len(PADDING), count, dtype=torch.long)
    for row, padding in enumerate(PADDING):
        mask[row, :padding] = 0
    return embeds, mask, torch.randint(0, 4, (3, len(PADDING), count)).cumsum(-1)


def in_parts(language: Any, cuts: list[int], driven: bool, **images: Any) -> Tensor:
    """Hidden states of all columns, read between the cuts one after another; 0 where nothing is real."""
    (embeds, mask, positions), cache, found = columns(language), DynamicCache(), []
    for begin, end in zip([0, *cuts], [*cuts, COLUMNS], strict=True):
        new, at = embeds[:, begin:end], positions[:, :, begin:end]
        if driven:
            found.append(read(language, new, mask[:, :end], language.rotary_emb(new, at), cache, *images.values()))
        else:
            out = language(
                inputs_embeds=new, attention_mask=mask[:, :end], position_ids=at, past_key_values=cache, **images
            )
            found.append(out.last_hidden_state)
    return torch.where(mask.bool()[..., None], torch.cat(found, dim=1), 0.0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
@pytest.mark.parametrize("cuts", [[], [7], [7, 8, 9, 10]])
@torch.inference_mode()
def test_a_pass_is_the_models_own(family: str, attention: str, cuts: list[int], request: pytest.FixtureRequest) -> None:
    """At once, continued by several tokens, and token by token."""
    language = language_model(request.getfixturevalue(family), attention)
    torch.testing.assert_close(in_parts(language, cuts, True), in_parts(language, cuts, False), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(in_parts(language, cuts, True), in_parts(language, [], True), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_mask_may_be_what_is_added_to_the_scores(qwen3: Path) -> None:
    """As a CUDA graph keeps it."""
    language = language_model(qwen3)
    embeds, mask, positions = columns(language)
    new, rotation = embeds[:, -1:], language.rotary_emb(embeds, positions[:, :, -1:])
    added = torch.where(mask.bool(), 0.0, torch.finfo(torch.float32).min)[:, None, None]
    found = []
    for last in (mask, added):
        cache = DynamicCache()
        read(language, embeds[:, :-1], mask[:, :-1], language.rotary_emb(embeds, positions[:, :, :-1]), cache)
        found.append(read(language, new, last, rotation, cache))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rope", ["default", "dynamic"])
@torch.inference_mode()
def test_tokens_one_after_another_are_rotated_as_by_themselves(qwen3: Path, rope: str) -> None:
    """Frequencies that grow with the length do not know how many tokens an answer may have."""
    language = language_model(qwen3)
    settings = {"rope_type": rope, "factor": 2.0}
    language.config.rope_parameters = {**language.config.rope_parameters, **settings}
    language.config.max_position_embeddings = 6
    language.rotary_emb.__init__(language.config)
    positions = torch.arange(4, 9).expand(3, 2, -1)
    made = list(rotations(language, torch.zeros(1), positions))
    language.rotary_emb.__init__(language.config)
    assert len(made) == 5
    for (cos, sin), position in zip(made, positions.split(1, dim=2), strict=True):
        own_cos, own_sin = language.rotary_emb(torch.zeros(1), position)
        assert torch.equal(cos, own_cos)
        assert torch.equal(sin, own_sin)


@torch.inference_mode()
def test_images_are_added_where_they_stand(qwen3: Path) -> None:
    language = language_model(qwen3)
    places = torch.zeros(len(PADDING), COLUMNS, dtype=torch.bool)
    places[0, 1:4] = places[2, 6:8] = True
    levels = list(torch.randn(len(language.layers) - 1, int(places.sum()), language.config.hidden_size))
    images = {"visual_pos_masks": places, "deepstack_visual_embeds": levels}
    ours, own = in_parts(language, [], True, **images), in_parts(language, [], False, **images)
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, in_parts(language, [], True))


@torch.inference_mode()
def test_layers_that_slide_keep_their_window(qwen25: Path) -> None:
    language = language_model(qwen25)
    whole = in_parts(language, [7], True)
    language.config.sliding_window, language.has_sliding_layers = 3, True
    language.config.layer_types = ["full_attention", "sliding_attention"]
    ours, own = in_parts(language, [7], True), in_parts(language, [7], False)
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, whole)


@given(padding=st.lists(st.integers(0, 6), min_size=1, max_size=4), length=st.integers(7, 12), new=st.integers(1, 12))
def test_a_token_sees_the_real_ones_up_to_itself(padding: list[int], length: int, new: int) -> None:
    new = min(new, length)
    mask = torch.tensor([[int(column >= begin) for column in range(length)] for begin in padding])
    made = causal_mask(mask, new)
    if made is None:
        assert not any(padding)
        assert new in (1, length)
        return
    assert made.shape == (len(padding), 1, new, length)
    for row, begin in enumerate(padding):
        for token in range(new):
            seen = [begin <= column <= length - new + token for column in range(length)]
            assert made[row, 0, token].tolist() == seen
