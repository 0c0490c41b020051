"""The generic implementation beside the fast path, on the packaged backbone: what a family without one waits for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.performance.clock import once
from tests.performance.measure import Measurement, ratio, seconds
from tests.performance.routing import TARGET_MIX, deal, dealt_router
from tests.performance.workload import Bench
from vovnet.actions import USUAL, VISUAL_ACTIONS
from vovnet.data import Item, item, load_dataset
from vovnet.outcomes.branches import Group, read_text, run_groups
from vovnet.schema import RunConfig
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.generic.model import GenericVLM
from vovnet.vlm.generic.prompts import collate, collate_images
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import VLM, Batch, Decoding
from vovnet.vlm.qwen.generate import generate

ROUTED = 32  # questions one by one


@torch.inference_mode()
def implementations(config: RunConfig, rounds: int) -> Iterator[Measurement]:
    """Collection of one batch and live routing one by one; images are opened anew in every round."""
    fast, generic = (
        load_backbone(replace(config.backbone, implementation=name), config.vision_budget)
        for name in ("qwen", "generic")
    )
    data = load_dataset(config.dataset, config.eval.split)
    items = [item(data, row) for row in range(min(config.eval.batch_size, len(data)))]
    calls = [_collecting(config, vlm, items) for vlm in (generic, fast)]
    yield _compared(f"generic against fast path, collection, batch {len(items)}", calls, 2.0, rounds)

    one_by_one, decoding = items[:ROUTED], decoding_of(config.eval)
    actions = deal(TARGET_MIX, len(one_by_one))

    def routing(vlm: VLM) -> Callable[[], object]:
        routers = [dealt_router(config, vlm, data, np.array([action]), decoding) for action in actions]

        def route() -> None:
            vlm.builder.forget()
            for router, one in zip(routers, one_by_one, strict=True):
                router([one])

        return route

    yield _compared("generic against fast path, live routing, batch 1", [routing(generic), routing(fast)], 2.5, rounds)


def _collecting(config: RunConfig, vlm: VLM, items: Sequence[Item]) -> Callable[[], object]:
    """Text pass, the answers of every branch, and their references' NLL."""
    decoding = decoding_of(config.eval)

    def collect() -> None:
        vlm.builder.forget()
        _collect(vlm, vlm.builder.build(items, VISUAL_ACTIONS), decoding)

    return collect


def _collect(vlm: VLM, batch: Batch, decoding: Decoding) -> None:
    text = read_text(vlm, batch)
    groups = [Group(batch, a, text.prefill, with_nll=True) for a in USUAL]
    for some in [groups] if vlm.answers_looks_together else [[one] for one in groups]:
        run_groups(vlm, some, decoding, 0)


@torch.inference_mode()
def generate_beside(bench: Bench, folder: Path) -> Iterator[Measurement]:
    """The generic implementation at published size beside three plain ``generate`` calls on the same tensors."""
    place = folder / "model"
    bench.backbone.model.save_pretrained(place)
    bench.backbone.builder.save(place)
    for order, target in (("image_first", 1.2), ("text_first", 1.0)):
        yield _generate_beside(bench, place, order, target)


def _generate_beside(bench: Bench, place: Path, order: str, target: float) -> Measurement:
    """In one order of prompts. Ours reads the text by itself as well, and measures the references' NLL."""
    how = {"path": str(place), "packaged": False, "implementation": "generic", "prompt_order": order}
    vlm = load_backbone(replace(bench.config.backbone, **how), bench.load.budget or bench.config.vision_budget)
    assert isinstance(vlm, GenericVLM)
    size, decoding = bench.load.batches[-1], Decoding(bench.load.decoded // 2, 1, do_sample=False, temperature=1.0)
    batch = vlm.builder.build(bench.data(size, bench.load.images[-1]).items(), VISUAL_ACTIONS)
    padding, axes = vlm.end_tokens[0], vlm.builder.prompter.axes

    def plain() -> None:
        for action in USUAL:
            prompts = vlm.builder.prompts(batch, action)
            inputs = collate(prompts, [0] * size, padding, vlm.device)
            inputs |= collate_images(prompts, axes, vlm.device, vlm.model.dtype)
            generate(vlm.model, inputs, decoding, vlm.end_tokens, padding)

    def ours() -> None:
        _collect(vlm, batch, decoding)

    ours()
    plain()
    reuse = "with reuse of the text pass" if vlm.cache_reuse else "without reuse"
    name = f"generic collection {reuse} and NLL against three generate calls, batch {size}"
    return ratio(name, lambda: once(ours, vlm.device), lambda: once(plain, vlm.device), target, bench.rounds)


def _compared(name: str, calls: Sequence[Callable[[], object]], target: float, rounds: int) -> Measurement:
    """Both once before they count."""
    ours, other = calls
    ours()
    other()
    return ratio(name, lambda: seconds(ours), lambda: seconds(other), target, rounds)
