"""The generic implementation gives what the fast path gives, on both families that have one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import compose_config
from tests.vlm.alike import assert_alike
from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import Item
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import VLM, Decoding, Reading

GREEDY = Decoding(max_new_tokens=6, num_beams=1, do_sample=False, temperature=1.0)
ORDERS = ("image_first", "text_first", "sandwich")


@pytest.fixture(scope="module", params=["qwen3", "qwen25", "tiny"])
def folder(request: pytest.FixtureRequest) -> str:
    """A checkpoint: two shrunken ones, and the packaged one."""
    return "vovnet/vlm/checkpoints/tiny" if request.param == "tiny" else str(request.getfixturevalue(request.param))


@pytest.fixture(scope="module", params=ORDERS)
def pair(request: pytest.FixtureRequest, folder: str) -> tuple[VLM, VLM]:
    """Fast and generic, in one prompt order."""
    config = compose_config(f"backbone.path={Path(folder).resolve()}", f"backbone.prompt_order={request.param}")

    def load(implementation: str) -> VLM:
        return load_backbone(replace(config.backbone, implementation=implementation), config.vision_budget)

    return load("qwen"), load("generic")


def test_answers_entropies_and_losses_are_the_same_under_every_action(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    assert_alike(pair, items, GREEDY)


def test_costs_are_the_same_before_anything_is_read(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    fast, generic = pair
    for _, sample, _ in items:
        assert generic.builder.tokens(sample, USUAL) == fast.builder.tokens(sample, USUAL)
    assert generic.builder.max_tokens == fast.builder.max_tokens


def test_the_loss_with_gradients_is_the_loss(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    fast, generic = pair
    for action in USUAL:
        losses = [vlm.training_nll(vlm.builder.build(items[:5], VISUAL_ACTIONS), action) for vlm in (fast, generic)]
        torch.testing.assert_close(losses[1], losses[0], atol=1e-4, rtol=0)


def test_beams_and_samples_are_the_same(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    for decoding in (replace(GREEDY, num_beams=3), replace(GREEDY, do_sample=True, temperature=1.5)):
        said = []
        for vlm in pair:
            batch = vlm.builder.build(items[:4], [Action.FULL])
            with torch.inference_mode():
                state = vlm.read(batch, Action.FULL)
                said.append(
                    [answer.text for answer in vlm.answer([Reading(batch, Action.FULL, state)], decoding, 3)[0]]
                )
        assert said[1] == said[0]


def test_a_batch_is_split_as_live_routing_splits_it(pair: tuple[VLM, VLM], items: list[Item]) -> None:
    vlm = pair[1]
    batch = vlm.builder.build(items[:6], VISUAL_ACTIONS)
    groups = [[4, 0], [1, 2, 3], [5]]
    with torch.inference_mode():
        text = vlm.read(batch, Action.NO)
        whole = vlm.answer([Reading(batch, Action.NO, text)], GREEDY)[0]
        for rows, state in zip(groups, text.split(groups), strict=True):
            part = vlm.builder.with_images(batch.select(rows), [items[row][1] for row in rows], [Action.FULL])
            assert [a.text for a in vlm.answer([Reading(part, Action.NO, state)], GREEDY)[0]] == [
                whole[row].text for row in rows
            ]
            seen = vlm.read(part, Action.FULL, state)
            expected = vlm.read(batch, Action.FULL, text).logits[torch.tensor(rows)]
            torch.testing.assert_close(seen.logits, expected, atol=2e-4, rtol=0)
        assert [a.text for a in vlm.answer([Reading(batch, Action.NO, text)], GREEDY)[0]] == [a.text for a in whole]
