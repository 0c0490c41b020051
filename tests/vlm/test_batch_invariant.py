"""With backbone.batch_invariant no number of a question depends on the questions beside it, to the bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import compose_config
from tests.vlm.conftest import GREEDY
from vovnet.actions import USUAL, Action
from vovnet.compose import config_hash, config_identity
from vovnet.data import Sample, item, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.branches import read_text
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import VLM, Answer, Decoding, Reading
from vovnet.vlm.qwen import fixed

Items = list[tuple[int, Sample, str]]
ON = "backbone.batch_invariant=true"
WAYS = {
    "fast": ("qwen3", []),
    "fast, image first": ("qwen3", ["backbone.prompt_order=image_first"]),
    "fast, Qwen2.5": ("qwen25", []),
    "fast, half precision": ("qwen3", ["backbone.dtype=bfloat16"]),
    "generic": ("qwen3", ["backbone.implementation=generic"]),
}


@pytest.fixture(scope="module")
def items(easy_data: Path) -> Items:
    """Questions of several lengths; the last two are longer than a block of columns."""
    config = compose_config(f"dataset.path={easy_data}")
    dataset = load_dataset(config.dataset, "test")
    found = [item(dataset, row) for row in range(0, 7 * 11, 11)]
    longer = [(row, sample, question * 6) for row, sample, question in found[-2:]]
    return [*found[:-2], *longer]


@pytest.fixture(params=WAYS, scope="module")
def load(request: pytest.FixtureRequest) -> Callable[..., VLM]:
    folder, overrides = WAYS[request.param]
    path = request.getfixturevalue(folder)

    def make(*more: str) -> VLM:
        config = compose_config(f"backbone.path={path}", *overrides, *more)
        return load_backbone(config.backbone, config.vision_budget)

    return make


def numbers(vlm: VLM, items: Items, decoding: Decoding = GREEDY) -> list[list[object]]:
    """Of each question, all that outcomes hold of it: features, logits, answers and the references' NLL."""
    with torch.inference_mode():
        batch = vlm.builder.build(items, USUAL)
        read = read_text(vlm, batch)
        text, entropy, margin = read.prefill, read.entropy.tolist(), read.margin.tolist()
        readings = [Reading(batch, action, vlm.read(batch, action, text)) for action in USUAL]
        rows: list[list[object]] = [list(pair) for pair in zip(entropy, margin, strict=True)]
        answers = vlm.answer(readings, decoding)
        for reading, said in zip(readings, answers, strict=True):
            state = reading.state
            nll = vlm.nll(state, batch.references)
            counts = (state.prompt_tokens, state.vision_tokens, state.patches, state.reused_tokens)
            for row, answer in enumerate(said):
                rows[row] += [state.hidden[row].tolist(), state.logits[row].tolist(), float(nll[row]), answer]
                rows[row] += [int(count[row]) for count in counts]
    return rows


def test_the_size_of_a_batch_changes_nothing(
    load: Callable[..., VLM], items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed, "ROWS", 3)  # seven questions are several passes
    vlm = load(ON)
    together = numbers(vlm, items)
    assert [numbers(vlm, [one])[0] for one in items] == together
    assert numbers(vlm, items[::-1]) == together[::-1]


def test_sampled_answers_are_those_of_their_question(
    load: Callable[..., VLM], items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed, "ROWS", 3)
    vlm, sampled = load(ON), replace(GREEDY, do_sample=True)
    assert numbers(vlm, items[::-1], sampled) == numbers(vlm, items, sampled)[::-1]


def test_the_numbers_stay_what_they_are_up_to_rounding(load: Callable[..., VLM], items: Items) -> None:
    usual, invariant = load(), load(ON)
    half = usual.model.dtype == torch.bfloat16
    off = 0.15 if half else 1e-3
    for expected, row in zip(numbers(usual, items), numbers(invariant, items), strict=True):
        for one, other in zip(expected, row, strict=True):
            if not isinstance(one, Answer):
                torch.testing.assert_close(torch.tensor(other), torch.tensor(one), atol=off, rtol=off)
            elif not half:  # where two tokens are about as good, a rounding decides
                assert isinstance(other, Answer)
                assert (other.text, other.tokens) == (one.text, one.tokens)
                assert other.confidence == pytest.approx(one.confidence, rel=1e-2)


def test_gradients_flow_through_whole_batches(qwen3: Path, items: Items) -> None:
    """A training's passes keep the batch's own shape, which is faster."""
    config = compose_config(f"backbone.path={qwen3}", ON)
    vlm = load_backbone(config.backbone, config.vision_budget)
    batch, seen = vlm.builder.build(items, []), list[int]()
    vlm.model.model.language_model.norm.register_forward_hook(lambda *call: seen.append(len(call[2])))
    vlm.read(batch, Action.NO)
    with torch.no_grad():
        vlm.read(batch, Action.NO)
    assert seen[0] == len(items)
    assert set(seen[1:]) == {fixed.ROWS}


@example([fixed.COLUMNS, 2 * fixed.COLUMNS, 1])
@given(st.lists(st.integers(1, 300), min_size=1, max_size=80))
def test_a_prompt_alone_decides_on_the_shape_in_which_it_is_read(lengths: list[int]) -> None:
    seen = fixed.groups(lengths)
    assert sorted(place for _, places in seen for place in places) == list(range(len(lengths)))
    for columns, places in seen:
        assert len(fixed.filled(places)) == fixed.ROWS
        assert {fixed.width(lengths[place]) for place in places} == {columns}
        assert all(lengths[place] < columns <= lengths[place] + fixed.COLUMNS for place in places)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("backbone.compile=true", "compile=false"),
        ("backbone.attn_implementation=flash_attention_2", "sdpa or eager"),
        ("eval.num_beams=2", "eval.num_beams=1"),
        ("trainer=fsdp", "trainer=single or ddp"),
    ],
)
def test_what_depends_on_batches_is_refused(override: str, said: str) -> None:
    with pytest.raises(VoVNetError, match=said):
        compose_config(ON, override)


def test_outcomes_are_stored_apart_and_others_keep_their_names(easy_data: Path) -> None:
    def names(*overrides: str) -> dict[str, str]:
        config = compose_config(f"dataset.path={easy_data}", *overrides)
        dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
        keys = table_keys(config, checkpoint, dataset, looks_of(config, USUAL))
        return {name: key.id for name, key in keys.items()} | {"run": config_hash(config)}

    usual, invariant = names(), names(ON)
    assert names("backbone.batch_invariant=false") == usual
    assert all(invariant[name] != usual[name] for name in usual)
    assert "batch_invariant" not in config_identity(compose_config())["backbone"]
