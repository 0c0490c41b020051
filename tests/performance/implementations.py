"""The generic implementation beside the fast path, on the packaged backbone: what a family without one waits for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from tests.performance.measure import Measurement, ratio, seconds
from tests.performance.routing import TARGET_MIX, deal, dealt_router
from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import Item, item, load_dataset
from vovnet.schema import RunConfig
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import VLM, Reading

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
    decoding = decoding_of(config.eval)

    def collect() -> None:
        vlm.builder.forget()
        batch = vlm.builder.build(items, VISUAL_ACTIONS)
        text = vlm.read(batch, Action.NO)
        for action in USUAL:
            state = vlm.read(batch, action, text)
            vlm.answer([Reading(batch, action, state)], decoding)
            vlm.nll(state, batch.references)

    return collect


def _compared(name: str, calls: Sequence[Callable[[], object]], target: float, rounds: int) -> Measurement:
    """Both once before they count."""
    ours, other = calls
    ours()
    other()
    return ratio(name, lambda: seconds(ours), lambda: seconds(other), target, rounds)
