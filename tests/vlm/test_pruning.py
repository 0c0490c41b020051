"""Pruned images: shorter sequences, original positions, and nothing else changed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import compose_config
from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.schema import PruningMode
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import Decoding
from vovnet.vlm.pruning import Pruning, prune
from vovnet.vlm.qwen.forward import pad_left
from vovnet.vlm.qwen.model import Backbone
from vovnet.vlm.qwen.vision import encode_images

MODES: tuple[PruningMode, ...] = get_args(PruningMode)
DROPPING = ("stride", "topk_norm", "random")  # modes that leave the surviving features as they were
ratios = st.floats(0.01, 1.0)
sides = st.integers(1, 12)
Load = Callable[..., Backbone]


@pytest.fixture(scope="module", params=["qwen3", "qwen25"])
def load(request: pytest.FixtureRequest) -> Load:
    folder: Path = request.getfixturevalue(request.param)

    def make(pruning: Pruning | None, reuse: bool = True, order: str = "text_first") -> Backbone:
        config = compose_config(f"backbone.path={folder}", f"backbone.prompt_order={order}")
        return load_backbone(config.backbone, config.vision_budget, reuse, pruning)

    return make


def features(rows: int, columns: int, levels: int = 2) -> torch.Tensor:
    return torch.randn(levels, rows * columns, 8, generator=torch.Generator().manual_seed(rows * 100 + columns))


@given(st.sampled_from(MODES), ratios, sides, sides)
def test_what_is_left_is_what_was_announced(mode: PruningMode, ratio: float, rows: int, columns: int) -> None:
    pruning = Pruning(mode, ratio)
    image = prune(features(rows, columns), rows, columns, pruning, b"image")
    count = pruning.remaining(rows, columns)
    assert image.levels.shape == (2, count, 8)
    assert 1 <= count <= max(1, -(-ratio * rows * columns // 1))
    assert (image.kept.diff() > 0).all()
    assert 0 <= int(image.kept[0]) <= int(image.kept[-1]) < rows * columns


@given(st.sampled_from(MODES), sides, sides, st.lists(ratios, min_size=2, max_size=2))
def test_a_larger_ratio_never_keeps_fewer(mode: PruningMode, rows: int, columns: int, two: list[float]) -> None:
    low, high = (Pruning(mode, ratio).remaining(rows, columns) for ratio in sorted(two))
    if mode == "pool":  # its grid keeps the image's shape, which rounds both ways
        return
    assert low <= high


@given(st.sampled_from(MODES), sides, sides)
def test_a_ratio_of_one_keeps_everything(mode: PruningMode, rows: int, columns: int) -> None:
    whole = features(rows, columns)
    image = prune(whole, rows, columns, Pruning(mode, 1.0), b"image")
    assert torch.equal(image.levels, whole)
    assert image.kept.tolist() == list(range(rows * columns))


def test_each_mode_keeps_what_it_says() -> None:
    whole = features(4, 4)
    kept = {m: prune(whole, 4, 4, Pruning(m, 0.25), b"image") for m in MODES}
    assert kept["stride"].kept.tolist() == [2, 6, 10, 14]
    assert set(kept["topk_norm"].kept.tolist()) == set(whole[0].norm(dim=-1).topk(4).indices.tolist())
    assert torch.allclose(kept["pool"].levels[:, 0], whole[:, [0, 1, 4, 5]].mean(1), atol=1e-6)
    assert kept["pool"].kept.tolist() == [5, 7, 13, 15]
    others = {tuple(prune(whole, 4, 4, Pruning("random", 0.25), bytes([i])).kept.tolist()) for i in range(20)}
    assert len(others) > 10


def test_merging_averages_what_is_alike() -> None:
    one, other = torch.eye(8)[0], torch.eye(8)[1]
    whole = torch.stack([one, one, other, other, one, one])[None]
    image = prune(whole, 2, 3, Pruning("merge", 0.34), b"")
    assert image.levels.shape[1] == 3
    assert torch.allclose(prune(whole, 2, 3, Pruning("merge", 0.5), b"").levels[0].sum(0)[2:], torch.zeros(6))
    weighted = whole.mean(1)  # a size-weighted mean keeps the overall mean once one token is left
    assert torch.allclose(prune(whole, 2, 3, Pruning("merge", 0.01), b"").levels[:, 0], weighted, atol=1e-6)


@pytest.mark.parametrize("mode", DROPPING)
@pytest.mark.parametrize("order", ["text_first", "image_first"])
def test_dropping_equals_hiding_from_attention(load: Load, items: list, mode: PruningMode, order: str) -> None:
    """The reference reads every token with its own position and hides the dropped ones by the mask."""
    pruning = Pruning(mode, 0.4)
    pruned, whole = load(pruning, order=order), load(None, order=order)
    batch = pruned.builder.build(items[:1], [Action.FULL])
    pixels = batch.images[Action.FULL]
    with torch.inference_mode():
        seen = pruned.look(batch, Action.FULL, pruned.text_pass(batch))
        kept = pruned.encode(pixels).kept
        assert kept is not None
        sequence = whole.builder.format.with_images(batch.questions[0], pixels.grids(0))
        padded = pad_left([sequence], [0], whole.builder.end_token, whole.device)
        places = torch.from_numpy(sequence.ids == whole.builder.format.image_pad).nonzero()[:, 0]
        mask = padded.mask.clone()
        mask[0, places] = 0
        mask[0, places[kept[0][0]]] = 1
        embeds, visual = whole._embed(padded.ids, whole.encode(replace(pixels, pruning=None)))
        hidden = whole._read(embeds, mask, padded.positions, None, *visual)
    torch.testing.assert_close(seen.logits, whole.model.lm_head(hidden[:, -1]).float(), atol=2e-5, rtol=0)
    assert int(seen.mask.sum()) == int(mask.sum())


@pytest.mark.parametrize("mode", MODES)
def test_reuse_and_batches_change_nothing(load: Load, items: list, mode: PruningMode) -> None:
    pruning = Pruning(mode, 0.5)
    reused, single = load(pruning), load(pruning, reuse=False)
    batch = reused.builder.build(items, [Action.FULL])
    with torch.inference_mode():
        together = reused.look(batch, Action.FULL, reused.text_pass(batch))
        plain = single.look(batch, Action.FULL, None)
        torch.testing.assert_close(together.logits, plain.logits, atol=1e-5, rtol=0)
        for row in (0, len(items) - 1):
            alone = reused.builder.build([items[row]], [Action.FULL])
            logits = reused.look(alone, Action.FULL, reused.text_pass(alone)).logits[0]
            torch.testing.assert_close(together.logits[row], logits, atol=1e-5, rtol=0)
        nll = reused.training_nll(batch, Action.FULL)
        torch.testing.assert_close(nll, reused.nll(together, batch.references), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_the_cost_is_known_beforehand(load: Load, items: list, mode: PruningMode) -> None:
    pruned, whole = load(Pruning(mode, 0.3)), load(None)
    batch = pruned.builder.build(items[:4], [Action.FULL])
    with torch.inference_mode():
        lengths = pruned.look(batch, Action.FULL, pruned.text_pass(batch)).mask.sum(1)
    for row, (_, sample, _) in enumerate(items[:4]):
        (announced,), (all_tokens,) = (b.builder.tokens(sample, [Action.FULL]) for b in (pruned, whole))
        assert announced == pruned.builder.read_tokens(batch.images[Action.FULL], row) < all_tokens
        frame = len(pruned.builder.format.head) + len(batch.questions[row]) + len(pruned.builder.format.tail) + 2
        assert int(lengths[row]) == frame + announced


def test_features_of_the_unpruned_path_are_untouched(load: Load, items: list) -> None:
    backbone = load(None)
    pixels = backbone.builder.build(items[:3], [Action.FULL]).images[Action.FULL]
    with torch.inference_mode():
        encoded, (plain, _) = backbone.encode(pixels), encode_images(backbone.model.model.visual, pixels)
    assert encoded.kept is None
    assert torch.equal(encoded.features, plain)


def test_beam_search_says_that_it_cannot(load: Load, items: list) -> None:
    backbone = load(Pruning("stride", 0.5))
    batch = backbone.builder.build(items[:1], [Action.FULL])
    with torch.inference_mode():
        state = backbone.look(batch, Action.FULL, None)
    with pytest.raises(VoVNetError, match="beam search cannot prune"):
        backbone.decode(state, Decoding(4, 2, False, 1.0), batch, Action.FULL)
