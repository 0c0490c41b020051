"""Decoding in buffers that stay where they are, as CUDA graphs need it: the answers of plain decoding.

Without a GPU the steps run one by one; what a graph would replay is the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from tests.conftest import compose_config
from tests.vlm.conftest import GREEDY, Load, build
from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import Decoding
from vovnet.vlm.qwen import graphs
from vovnet.vlm.qwen.forward import join_prefills
from vovnet.vlm.qwen.graphs import GraphDecoder
from vovnet.vlm.qwen.model import Backbone


def stepwise(backbone: Backbone, ends: tuple[int, ...] | None = None) -> GraphDecoder:
    return GraphDecoder(backbone.model, ends or backbone.end_tokens, backbone.builder.end_token, capture=False)


def plain(backbone: Backbone, prefill: object, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    decoding = Decoding(length, num_beams=1, do_sample=False, temperature=1.0)
    size = len(prefill.mask)  # type: ignore[attr-defined]
    return backbone.write(prefill, decoding, [None] * size, Action.NO, 0)  # type: ignore[arg-type]


def test_the_answers_and_their_probability_are_those_of_plain_decoding(load: Load, items: list) -> None:
    backbone = load()
    batch, decoder = build(backbone, items), stepwise(backbone)
    with torch.inference_mode():
        text = backbone.text_pass(batch)
        for state in (text, *(backbone.look(batch, action, text) for action in VISUAL_ACTIONS)):
            for length in (1, 6):
                ids, log_prob = decoder.decode(state, length)
                expected, likelihood = plain(backbone, state, length)
                assert ids.tolist() == expected.tolist()
                torch.testing.assert_close(log_prob, likelihood, atol=1e-4, rtol=1e-4)


def test_it_stops_once_every_row_has_ended(load: Load, items: list) -> None:
    """Tokens after a row's end are fillers and count for nothing."""
    backbone = load()
    with torch.inference_mode():
        state = backbone.text_pass(build(backbone, items))
        free, _ = stepwise(backbone, (-1,)).decode(state, 12)
        ends = tuple({int(row[n % 3]) for n, row in enumerate(free)})
        backbone.end_tokens = ends
        ids, log_prob = stepwise(backbone, ends).decode(state, 12)
        expected, likelihood = plain(backbone, state, 12)
    assert ids.shape == expected.shape
    assert ids.shape[1] <= 3
    assert ids.tolist() == expected.tolist()
    torch.testing.assert_close(log_prob, likelihood, atol=1e-4, rtol=1e-4)


def test_one_buffer_serves_all_sizes_one_after_another(
    load: Load, items: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small, large and small again, inside and outside of inference mode: nothing of the batch before is left."""
    monkeypatch.setattr(graphs, "KEPT", 2)
    backbone = load()
    decoder = stepwise(backbone)
    for rows in (2, len(items), 3, 2, len(items)):
        for mode in (True, False):
            with torch.inference_mode(mode), torch.no_grad():
                state = backbone.text_pass(build(backbone, items[:rows]))
                assert decoder.decode(state, 5)[0].tolist() == plain(backbone, state, 5)[0].tolist()
    assert len(decoder._steps) <= 2


def test_a_mixed_batch_is_one_batch(load: Load, items: list) -> None:
    backbone = load()
    parts = [build(backbone, items[:3]), build(backbone, items[3:9])]
    with torch.inference_mode():
        texts = [backbone.text_pass(part) for part in parts]
        joined = join_prefills([texts[0], backbone.look(parts[1], Action.FULL, texts[1])])
        ids, _ = stepwise(backbone).decode(joined, GREEDY.max_new_tokens)
        assert ids.tolist() == plain(backbone, joined, GREEDY.max_new_tokens)[0].tolist()


def test_the_attention_of_everything_else_stays(load: Load, items: list) -> None:
    backbone = load()
    config = backbone.model.model.language_model.config
    before = config._attn_implementation
    with torch.inference_mode():
        stepwise(backbone).decode(backbone.text_pass(build(backbone, items)), 3)
    assert config._attn_implementation == before


def test_graphs_are_for_a_gpu_and_can_be_switched_off(load: Load, qwen3: Path) -> None:
    backbone = load()
    assert backbone.graphs is not None
    assert not backbone.runs_graphs()
    for off in ("backbone.cuda_graphs=false", "backbone.attn_implementation=eager"):
        config = compose_config(f"backbone.path={qwen3}", off)
        assert load_backbone(config.backbone, config.vision_budget).graphs is None


def test_nan_of_one_batch_does_not_reach_the_next(load: Load, items: list) -> None:
    backbone = load()
    decoder = stepwise(backbone)
    with torch.inference_mode():
        state, other = (backbone.text_pass(build(backbone, part)) for part in (items[:2], items[2:4]))
        before = decoder.decode(state, 5)
        for layer in other.cache.layers:
            layer.keys[:], layer.values[:] = torch.nan, torch.nan
        for length in (5, 60):
            decoder.decode(other, length)
        after = decoder.decode(state, 5)
    assert before[0].tolist() == after[0].tolist()
    torch.testing.assert_close(before[1], after[1])


def test_a_warm_up_stays_in_the_buffer_that_an_answer_has_filled(
    load: Load, items: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph is captured once its size has decoded, perhaps up to the last column."""
    monkeypatch.setattr(graphs, "BLOCK", 1)
    backbone = load()
    decoder = stepwise(backbone, (-1,))
    with torch.inference_mode():
        state = backbone.text_pass(build(backbone, items[:2]))
        before = decoder.decode(state, 6)[0].tolist()
        (step,) = decoder._steps.values()
        assert int(step.column) == step.held.shape[3]
        with torch.inference_mode(False), torch.no_grad(), decoder._attention():
            step.warm_up()
        assert decoder.decode(state, 6)[0].tolist() == before


def test_sizes_without_a_graph_are_forgotten_first(load: Load, items: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "KEPT", 2)
    backbone = load()
    decoder = stepwise(backbone)
    with torch.inference_mode():
        for rows in (5, 4, 3, 2):
            decoder.decode(backbone.text_pass(build(backbone, items[:rows])), 3)
            first = next(iter(decoder._steps.values()))
            if rows == 5:
                earned, earned.graph = first, CapturedOnCPU(first)
    assert earned in decoder._steps.values()
    assert len(decoder._steps) == 2


class CapturedOnCPU:
    """Replays a step as a graph would."""

    def __init__(self, step: graphs.Step) -> None:
        self.replay = step.run


def test_other_threads_may_allocate_during_a_capture(load: Load, items: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a loader's pinning thread invalidates the capture (torch 2.11, H200)."""
    asked: list[dict[str, object]] = []

    @contextmanager
    def recorded(graph: object, **options: object) -> Iterator[None]:
        asked.append(options)
        yield

    for name in ("CUDAGraph", "Stream", "current_stream", "stream"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    monkeypatch.setattr(torch.cuda, "graph", recorded)
    backbone = load()
    decoder = stepwise(backbone)
    with torch.inference_mode():
        decoder.decode(backbone.text_pass(build(backbone, items[:2])), 3)
    (step,) = decoder._steps.values()
    with torch.no_grad(), decoder._attention():
        step.capture(pool="pool")
    assert asked == [{"pool": "pool", "capture_error_mode": "thread_local"}]
    assert step.graph is torch.cuda.CUDAGraph.return_value  # type: ignore[attr-defined]
