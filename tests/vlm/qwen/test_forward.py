"""A pass over new tokens goes on from a cache as if all had been read at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from tests.conftest import compose_config
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.qwen.forward import read

PADDING = [0, 2, 5]  # columns before each row's first token
COLUMNS = 11


def language_model(folder: Path, attention: str = "sdpa") -> Any:
    config = compose_config(f"backbone.path={folder}", f"backbone.attn_implementation={attention}")
    return load_backbone(config.backbone, config.vision_budget).model.model.language_model


def columns(language: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings [3, COLUMNS, D], which of them are real, and positions that differ by axis."""
    torch.manual_seed(0)
    embeds = torch.randn(len(PADDING), COLUMNS, language.config.hidden_size)
    mask = torch.ones(len(PADDING), COLUMNS, dtype=torch.long)
    for row, padding in enumerate(PADDING):
        mask[row, :padding] = 0
    return embeds, mask, torch.randint(0, 4, (3, len(PADDING), COLUMNS)).cumsum(-1)


def in_parts(language: Any, cuts: list[int], *images: Any) -> Tensor:
    """Hidden states of all columns, read between the cuts one after another; 0 where nothing is real."""
    (embeds, mask, positions), cache, found = columns(language), DynamicCache(), []
    for begin, end in zip([0, *cuts], [*cuts, COLUMNS], strict=True):
        found.append(read(language, embeds[:, begin:end], mask[:, :end], positions[:, :, begin:end], cache, *images))
    return torch.where(mask.bool()[..., None], torch.cat(found, dim=1), 0.0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
@torch.inference_mode()
def test_parts_give_what_the_whole_gives(family: str, attention: str, request: pytest.FixtureRequest) -> None:
    """Continued by several tokens, and token by token."""
    language = language_model(request.getfixturevalue(family), attention)
    whole = in_parts(language, [])
    for cuts in ([7], [7, 8, 9, 10]):
        torch.testing.assert_close(in_parts(language, cuts), whole, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_mask_may_be_what_is_added_to_the_scores(qwen3: Path) -> None:
    """As a CUDA graph keeps it."""
    language = language_model(qwen3)
    embeds, mask, positions = columns(language)
    added = torch.where(mask.bool(), 0.0, torch.finfo(torch.float32).min)[:, None, None]
    found = []
    for last in (mask, added):
        cache = DynamicCache()
        read(language, embeds[:, :-1], mask[:, :-1], positions[:, :, :-1], cache)
        found.append(read(language, embeds[:, -1:], last, positions[:, :, -1:], cache))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_images_are_added_where_they_stand(qwen3: Path) -> None:
    language = language_model(qwen3)
    places = torch.zeros(len(PADDING), COLUMNS, dtype=torch.bool)
    places[0, 1:4] = places[2, 6:8] = True
    levels = list(torch.randn(1, int(places.sum()), language.config.hidden_size))
    moved = (in_parts(language, [], places, levels) != in_parts(language, [])).any(-1)
    assert moved[0].tolist() == [column >= 1 for column in range(COLUMNS)]
    assert not moved[1].any()
    assert moved[2].tolist() == [column >= 6 for column in range(COLUMNS)]
