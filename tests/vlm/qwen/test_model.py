"""The backbone against transformers' own forward and generate, and against itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import Configure
from tests.vlm.conftest import GREEDY, Load, build
from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import Sample
from vovnet.errors import VoVNetError
from vovnet.vlm.decoding import distribution_stats
from vovnet.vlm.protocol import Decoding, join_batches
from vovnet.vlm.qwen.forward import join_prefills
from vovnet.vlm.qwen.model import Backbone

ORDERS = ("text_first", "image_first", "sandwich")


def reference_inputs(backbone: Backbone, items: list, action: Action) -> dict:
    """One sample's inputs for transformers' own forward, from its own image processor."""
    batch = backbone.builder.build(items[:1], [action])
    pixels = batch.images[action]
    sequence = backbone.builder.format.with_images(batch.questions[0], pixels.grids(0))
    ids = torch.from_numpy(sequence.ids)[None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == backbone.builder.format.image_pad).int(),
        "pixel_values": pixels.patches(torch.device("cpu"), torch.float32),
        "image_grid_thw": torch.tensor(pixels.shapes),
    }


@pytest.mark.parametrize("action", VISUAL_ACTIONS)
@pytest.mark.parametrize("order", ORDERS)
def test_logits_equal_the_models_own_forward(load: Load, items: list, order: str, action: Action) -> None:
    backbone = load(order)
    inputs = reference_inputs(backbone, items, action)
    backbone.model.model.rope_deltas = None
    expected = backbone.model(**inputs).logits[:, -1]
    batch = build(backbone, items[:1])
    with torch.inference_mode():
        seen = backbone.look(batch, action, backbone.text_pass(batch))
    torch.testing.assert_close(seen.logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 16])
def test_cached_equals_uncached(load: Load, items: list, size: int) -> None:
    cached, plain = load(), load(reuse=False)
    batch = build(cached, items[:size])
    with torch.inference_mode():
        text = cached.text_pass(batch)
        for action in VISUAL_ACTIONS:
            reused = cached.look(batch, action, text)
            single = plain.look(batch, action, None)
            torch.testing.assert_close(reused.logits, single.logits, atol=1e-5, rtol=0)
            torch.testing.assert_close(cached.nll(reused, batch.references), plain.nll(single, batch.references))


@pytest.mark.parametrize("size", [1, 16])
def test_cached_equals_uncached_with_mixed_actions(load: Load, items: list, size: int) -> None:
    """As the router does it: each action's samples continue their own rows of the batch's text pass."""
    cached, plain = load(), load(reuse=False)
    batch = build(cached, items[:size])
    with torch.inference_mode():
        text = cached.text_pass(batch)
        for action in USUAL:
            rows = [row for row in range(size) if row % len(USUAL) == int(action)]
            if not rows:
                continue
            part = build(cached, [items[row] for row in rows])
            mine = text.rows(rows)
            expected = plain.text_pass(part) if action is Action.NO else plain.look(part, action, None)
            seen = mine if action is Action.NO else cached.look(part, action, mine)
            torch.testing.assert_close(seen.logits, expected.logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ORDERS)
def test_joined_prefills_go_on_as_each_did_by_itself(load: Load, items: list, order: str) -> None:
    """As the router decodes: samples of all actions together, and each prefill stays usable."""
    backbone = load(order)
    parts = [build(backbone, part) for part in (items[:3], items[3:8], items[8:12])]
    with torch.inference_mode():
        texts = [backbone.text_pass(part) for part in parts]
        states = [texts[0]] + [
            backbone.look(part, a, text) for part, a, text in zip(parts[1:], VISUAL_ACTIONS, texts[1:], strict=True)
        ]
        together = backbone.decode(join_prefills(states), GREEDY, join_batches(parts), Action.NO)
        alone = [a for s, p in zip(states, parts, strict=True) for a in backbone.decode(s, GREEDY, p, Action.NO)]
    assert [a.text for a in together] == [a.text for a in alone]
    assert [a.tokens for a in together] == [a.tokens for a in alone]
    assert [a.confidence for a in together] == pytest.approx([a.confidence for a in alone], rel=1e-3)


def test_beams_obey_this_projects_decoding_keys_only(load: Load, tmp_path: Path) -> None:
    backbone = load()
    settings = backbone.model.generation_config
    assert settings.repetition_penalty in (None, 1.0)
    assert settings.suppress_tokens is None


def test_a_text_pass_survives_what_continues_it(load: Load, items: list) -> None:
    backbone = load()
    batch = build(backbone, items)
    with torch.inference_mode():
        text = backbone.text_pass(batch)
        before = backbone.decode(text, GREEDY, batch, Action.NO)
        backbone.look(batch, Action.FULL, text)
        backbone.nll(text, batch.references)
        assert backbone.decode(text, GREEDY, batch, Action.NO) == before
    assert text.cache.get_seq_length() == text.mask.shape[1]


@pytest.mark.parametrize("order", ORDERS)
def test_batch_size_changes_no_answer(load: Load, items: list, order: str) -> None:
    backbone = load(order)
    with torch.inference_mode():
        together = answers(backbone, items)
        alone = [answers(backbone, [item])[0] for item in items]
    for many, one in zip(together, alone, strict=True):
        assert [a.text for a in many] == [a.text for a in one]
        assert [a.confidence for a in many] == pytest.approx([a.confidence for a in one], rel=1e-3)


def answers(backbone: Backbone, items: list) -> list:
    batch = build(backbone, items)
    text = backbone.text_pass(batch)
    per_action = [
        backbone.decode(text if action is Action.NO else backbone.look(batch, action, text), GREEDY, batch, action)
        for action in USUAL
    ]
    return list(zip(*per_action, strict=True))


def test_swapping_the_image_changes_full_and_coarse_and_not_no(load: Load, items: list) -> None:
    backbone = load()
    (index, sample, text), other = items[0], items[-1][1]
    assert sample.group != other.group
    swapped = Sample(sample.id, sample.question, other.images, sample.answers, sample.group, sample.category)
    first, second = (build(backbone, [(index, s, text)]) for s in (sample, swapped))
    with torch.inference_mode():
        texts = [backbone.text_pass(batch) for batch in (first, second)]
        assert torch.equal(texts[0].logits, texts[1].logits)
        for action in VISUAL_ACTIONS:
            a, b = (backbone.look(batch, action, t).logits for batch, t in zip((first, second), texts, strict=True))
            assert (a - b).abs().max() > 1e-3


def test_changing_the_reference_changes_the_nll_and_nothing_else(load: Load, items: list) -> None:
    backbone = load()
    other = [
        (i, Sample(s.id, s.question, s.images, ("a rather different answer",), s.group, s.category), text)
        for i, s, text in items
    ]
    with torch.inference_mode():
        batches = [build(backbone, given) for given in (items, other)]
        states = [[b_text := backbone.text_pass(b), backbone.look(b, Action.FULL, b_text)] for b in batches]
        for one, two in zip(*states, strict=True):
            assert torch.equal(one.hidden, two.hidden)
            assert torch.equal(one.logits, two.logits)
        nll = [backbone.nll(s[1], b.references) for s, b in zip(states, batches, strict=True)]
        assert not torch.allclose(nll[0], nll[1])


@pytest.mark.parametrize("action", list(USUAL))
def test_nll_is_shifted_and_equal_to_the_models_loss(load: Load, items: list, action: Action) -> None:
    backbone = load()
    batch = build(backbone, items[:1])
    if action is Action.NO:
        ids = torch.from_numpy(backbone.builder.format.text_pass(batch.questions[0]).ids)[None]
        inputs: dict = {}
    else:
        inputs = reference_inputs(backbone, items, action)
        ids = inputs.pop("input_ids")
    answer = torch.tensor([batch.references[0]])
    whole = torch.cat([ids, answer], dim=1)
    labels = torch.cat([torch.full_like(ids, -100), answer], dim=1)
    backbone.model.model.rope_deltas = None
    expected = backbone.model(
        **inputs
        | {
            "input_ids": whole,
            "labels": labels,
            "attention_mask": torch.ones_like(whole),
            "mm_token_type_ids": (whole == backbone.builder.format.image_pad).int(),
        }
    ).loss
    with torch.inference_mode():
        text = backbone.text_pass(batch)
        state = text if action is Action.NO else backbone.look(batch, action, text)
        assert float(backbone.nll(state, batch.references)) == pytest.approx(float(expected), abs=1e-5)
        assert float(backbone.training_nll(batch, action)) == pytest.approx(float(expected), abs=1e-5)


def test_training_nll_equals_cached_nll_for_answers_of_different_length(load: Load, items: list) -> None:
    backbone = load()
    varied = [
        (i, Sample(s.id, s.question, s.images, ("red " * (k % 4 + 1),), s.group, s.category), text)
        for k, (i, s, text) in enumerate(items)
    ]
    batch = build(backbone, varied)
    with torch.inference_mode():
        text = backbone.text_pass(batch)
        for action in USUAL:
            state = text if action is Action.NO else backbone.look(batch, action, text)
            torch.testing.assert_close(
                backbone.nll(state, batch.references),
                backbone.training_nll(backbone.builder.build(varied, [action]), action),
                atol=1e-5,
                rtol=0,
            )


@pytest.mark.parametrize("num_beams", [1, 3])
def test_decoding_equals_transformers_generate(load: Load, items: list, num_beams: int) -> None:
    backbone = load()
    decoding = Decoding(max_new_tokens=4, num_beams=num_beams, do_sample=False, temperature=1.0)
    inputs = reference_inputs(backbone, items, Action.FULL)
    backbone.model.model.rope_deltas = None
    generated = backbone.model.generate(**inputs, max_new_tokens=4, num_beams=num_beams, do_sample=False)
    expected = backbone.builder.tokenizer.decode(
        generated[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    ).strip()
    batch = build(backbone, items[:1])
    with torch.inference_mode():
        state = backbone.look(batch, Action.FULL, backbone.text_pass(batch))
        answer = backbone.decode(state, decoding, batch, Action.FULL)[0]
    assert answer.text == expected
    assert 0 < answer.confidence <= 1


def test_confidence_is_the_probability_of_the_answer(load: Load, items: list) -> None:
    backbone = load()
    batch = build(backbone, items[:1])
    with torch.inference_mode():
        text = backbone.text_pass(batch)
        one = Decoding(max_new_tokens=1, num_beams=1, do_sample=False, temperature=1.0)
        answer = backbone.decode(text, one, batch, Action.NO)[0]
    assert answer.confidence == pytest.approx(float(text.logits.softmax(-1).max()), rel=1e-5)
    assert answer.tokens == 1


def test_sampling_depends_on_seed_and_sample_but_not_on_the_batch(load: Load, items: list) -> None:
    backbone = load()
    hot = Decoding(max_new_tokens=4, num_beams=1, do_sample=True, temperature=3.0)

    def draw(given: list, seed: int) -> list[str]:
        batch = build(backbone, given)
        with torch.inference_mode():
            return [a.text for a in backbone.decode(backbone.text_pass(batch), hot, batch, Action.NO, seed)]

    assert draw(items, 1) == draw(items, 1)
    assert draw(items, 1) != draw(items, 2)
    assert draw(items[5:6], 1) == draw(items, 1)[5:6]


def test_max_new_tokens_is_live(load: Load, items: list) -> None:
    backbone = load()
    batch = build(backbone, items)
    with torch.inference_mode():
        state = backbone.text_pass(batch)
        for count in (1, 3):
            decoding = Decoding(max_new_tokens=count, num_beams=1, do_sample=False, temperature=1.0)
            assert max(a.tokens for a in backbone.decode(state, decoding, batch, Action.NO)) == count


def test_features_are_read_at_the_last_real_token(load: Load, items: list) -> None:
    backbone = load()
    with torch.inference_mode():
        together = backbone.text_pass(build(backbone, items))
        entropy, margin = distribution_stats(together.logits)
        for row, item in enumerate(items):
            alone = backbone.text_pass(build(backbone, [item]))
            torch.testing.assert_close(together.hidden[row], alone.hidden[0], atol=1e-5, rtol=0)
            probs = alone.logits[0].softmax(-1)
            top = probs.topk(2).values
            assert float(entropy[row]) == pytest.approx(float(-(probs * probs.log()).sum()), abs=1e-4)
            assert float(margin[row]) == pytest.approx(float(top[0] - top[1]), abs=1e-5)


def test_images_shared_by_samples_are_encoded_once(load: Load, items: list) -> None:
    backbone = load()
    twice = [items[0], (items[0][0] + 1, items[0][1], "is it red?"), items[-1]]
    batch = build(backbone, twice)
    assert len(batch.images[Action.FULL].shapes) == 2
    with torch.inference_mode():
        shared = backbone.look(batch, Action.FULL, backbone.text_pass(batch)).logits
        for row, item in enumerate(twice):
            alone = build(backbone, [item])
            expected = backbone.look(alone, Action.FULL, backbone.text_pass(alone)).logits[0]
            torch.testing.assert_close(shared[row], expected, atol=1e-5, rtol=0)


def test_several_images_add_their_costs(load: Load, items: list) -> None:
    backbone = load()
    index, sample, text = items[0]
    images = (*sample.images, *items[-1][1].images)
    double = Sample(sample.id, sample.question, images, sample.answers, sample.group, sample.category)
    assert backbone.builder.tokens(double, [Action.NO, Action.FULL]) == [0, 128]
    batch = build(backbone, [(index, double, text)])
    with torch.inference_mode():
        state = backbone.look(batch, Action.FULL, backbone.text_pass(batch))
    assert int(state.mask.sum()) == len(backbone.builder.format.text_pass(batch.questions[0]).ids) + 2 * (64 + 2)


def test_tokens_known_before_vision_equal_tokens_after(load: Load, configure: Configure, items: list) -> None:
    backbone = load()
    batch = build(backbone, items)
    for action in VISUAL_ACTIONS:
        for row, (_, sample, _) in enumerate(items):
            patches = sum(t * h * w for t, h, w in batch.images[action].grids(row))
            assert backbone.builder.tokens(sample, [action]) == [patches // 4]


def test_coarse_sees_a_smaller_image(load: Load) -> None:
    backbone = load()
    image = Image.new("RGB", (64, 48), "red")
    seen = backbone.builder.pictures(image, VISUAL_ACTIONS)
    assert [backbone.builder.cut.grid(seen[action]) for action in VISUAL_ACTIONS] == [(1, 4, 4), (1, 12, 16)]
    for action in VISUAL_ACTIONS:  # both from one opened image, each as by itself
        assert np.array_equal(seen[action], backbone.builder.pictures(image, [action])[action])


def test_images_count_towards_the_context(load: Load, items: list) -> None:
    backbone = load()
    batch = build(backbone, items[:1])
    backbone.builder.context = len(backbone.builder.format.text_pass(batch.questions[0]).ids)
    with torch.inference_mode():
        text = backbone.text_pass(batch)
        with pytest.raises(VoVNetError, match=rf"sample {items[0][1].id} has \d+ tokens.*lower vision_budget"):
            backbone.look(batch, Action.FULL, text)
