"""The packaged backbone's path against bare passes over the same tensors: collection, live routing, pruning.

Bare passes and ``generate`` run transformers' own modules, as one who does not use this project would.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tests.performance.bare import BareLoop, BareRoute
from tests.performance.measure import Measurement, ratio, seconds
from tests.performance.phases import CHECK
from tests.performance.routing import TARGET_MIX, deal, dealt_router
from tests.performance.workload import Synthetic
from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import Item, VQADataset, item, load_dataset
from vovnet.outcomes.collect import Chunk, Collector
from vovnet.outcomes.convert import branch_from_table
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.limits import BatchLimit
from vovnet.outcomes.load import shared_backbone
from vovnet.outcomes.looks import looks_of
from vovnet.outcomes.store import OutcomeStore
from vovnet.outcomes.tables import Tables
from vovnet.policy.route import Router
from vovnet.schema import Resolution, RunConfig, VisionBudgetConfig
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.protocol import Decoding
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.qwen.forward import Prefill
from vovnet.vlm.qwen.generate import generate, generate_inputs
from vovnet.vlm.qwen.loading import load_model
from vovnet.vlm.qwen.model import Backbone

SMALL_IMAGE = (64, 64)  # pixels, of a long question
RATIOS = (0.75, 0.5, 0.25)  # kept shares of an image's tokens


@dataclass(frozen=True)
class Amounts:
    """How much is measured: questions collected and routed, tokens of a long one, pruned images and their side, px."""

    collected: int
    routed: int
    long: int
    images: int
    side: int


AMOUNTS = {False: Amounts(512, 16, 500, 4, 256), True: Amounts(8, 2, 50, 1, 64)}  # by ``tiny``


def collection(config: RunConfig, rounds: int, tiny: bool = False) -> list[Measurement]:
    """Questions through the collector into a fresh store, and the forward passes of the same batches by themselves."""
    amounts, backbone, dataset = _setting(config, tiny)
    plain = _plain(config, backbone)
    count = min(amounts.collected, len(dataset))
    options = replace(config.eval, num_shards=1, shard=None)
    keys = table_keys(config, find_checkpoint(config.backbone), dataset, looks_of(config, USUAL))

    def collector(folder: str) -> Collector:
        store = OutcomeStore(folder)
        tables = Tables.of(store, keys, dataset, with_text=True, with_nll=True)
        return Collector(store, tables.collected, USUAL, dataset, options, lambda: backbone, {}, "benchmark")

    def ours() -> float:
        backbone.builder.forget()  # every round opens its images
        with tempfile.TemporaryDirectory() as folder:
            return seconds(lambda: collector(folder).fill(count))

    with tempfile.TemporaryDirectory() as folder:
        filled = collector(folder)
        filled.fill(count)
        said = {a: branch_from_table(filled.tables[a.label].read(count)).prediction for a in USUAL}
        limit = BatchLimit.of(backbone, dataset, USUAL, options.batch_tokens)
        spans = [(start, min(start + options.chunk_rows, count)) for start in range(0, count, options.chunk_rows)]
        orders = [order for span in spans for order in filled.orders(Chunk(span, tuple(keys), USUAL), limit)]
    batches = [backbone.builder.build([item(dataset, i) for i in order], VISUAL_ACTIONS) for order in orders]
    bare = BareLoop.of(plain, batches, options.max_new_tokens)
    wrong = sum(
        said[action][row] != text
        for order, answers in zip(orders, bare(), strict=True)
        for action, ids in answers.items()
        for row, text in zip(order, texts_of(backbone, ids), strict=True)
    )
    return [
        Measurement(f"{CHECK}bare answers that the store does not hold", wrong, "answers", 0, f"of {3 * count}"),
        ratio("collection against bare forward passes", ours, lambda: seconds(bare), 1.1, rounds),
    ]


@torch.inference_mode()
def live(config: RunConfig, rounds: int, tiny: bool = False) -> Iterator[Measurement]:
    """Routed answers against the ideal, and pure actions against transformers' own ``generate``."""
    amounts, backbone, dataset = _setting(config, tiny)
    items = [item(dataset, i) for i in range(min(amounts.routed, len(dataset)))]
    decoding = replace(decoding_of(config.eval), num_beams=1, do_sample=False)
    route = Routes(config, backbone, _plain(config, backbone), dataset, items, decoding)
    for size in (1, len(items)):
        routers = route.routers(deal(TARGET_MIX, len(items)), size)
        bare = route.bare(routers)
        wrong = sum(a != b for a, b in zip(route.answers(routers), route.bare_answers(routers, bare), strict=True))
        yield Measurement(f"{CHECK}routed answers unlike bare ones, batch {size}", wrong, "answers", 0, f"{len(items)}")
        ours, ideal = lambda r=routers: run_all(r), lambda b=bare: [one() for one in b]
        yield _ratio(f"live routing against text pass and chosen branch, batch {size}", ours, ideal, 1.1, rounds)
        for action, name in ((Action.NO, "NO against a text-only generate"), (Action.FULL, "FULL against generate")):
            yield from route.against_generate(action, size, f"{name}, batch {size}", rounds)
    yield _long_questions(config, backbone, len(items), amounts.long, rounds)


@dataclass(frozen=True)
class Routes:
    """Live routing of some questions, in batches of one size; ``plain`` is what it is compared with."""

    config: RunConfig
    backbone: Backbone
    plain: Backbone
    dataset: VQADataset
    items: Sequence[Item]
    decoding: Decoding

    def routers(self, actions: np.ndarray, size: int) -> list[tuple[Router, Sequence[Item]]]:
        """Batches, each with a router that deals out its actions."""
        starts = range(0, len(self.items), size)
        return [
            (
                dealt_router(self.config, self.backbone, self.dataset, actions[s : s + size], self.decoding),
                self.items[s : s + size],
            )
            for s in starts
        ]

    def bare(self, routers: Sequence[tuple[Router, Sequence[Item]]]) -> list[BareRoute]:
        """The same passes on ready tensors."""
        build, made = self.backbone.builder.build, []
        for router, items in routers:
            parts = [
                (action, rows, build([items[row] for row in rows], [action]))
                for action in USUAL
                if (rows := np.flatnonzero(router.policy.dealt == int(action)).tolist())  # type: ignore[attr-defined]
            ]
            made.append(BareRoute.of(self.plain, build(items, []), parts, self.decoding.max_new_tokens))
        return made

    def answers(self, routers: Sequence[tuple[Router, Sequence[Item]]]) -> list[str]:
        """What the router says, in the items' order."""
        return [text for router, items in routers for text in router(items).chosen.prediction]

    def bare_answers(self, routers: Sequence[tuple[Router, Sequence[Item]]], bare: Sequence[BareRoute]) -> list[str]:
        """What the bare passes say, in the items' order."""
        said = []
        for (_, items), one in zip(routers, bare, strict=True):
            texts, found = [""] * len(items), one()
            for action, rows, _ in one.groups:
                for row, text in zip(rows.tolist(), texts_of(self.backbone, found[action]), strict=True):
                    texts[row] = text
            said += texts
        return said

    def against_generate(self, action: Action, size: int, name: str, rounds: int) -> Iterator[Measurement]:
        """Everything from question to answer under one action, against ``generate`` on ready tensors."""
        routers = self.routers(np.full(len(self.items), int(action)), size)
        batches = [self.backbone.builder.build(items, [action]) for _, items in routers]
        plain, inputs = self.plain, list[dict[str, Tensor]]()
        for batch in batches:
            pixels = batch.images.get(action)
            inputs.append(generate_inputs(plain.builder, plain.prompts(batch, pixels), pixels, plain.device))

        def whole() -> list[Tensor]:
            return [
                generate(plain.model, one, self.decoding, plain.end_tokens, plain.builder.end_token) for one in inputs
            ]

        said = [text for ids in whole() for text in texts_of(self.backbone, ids)]
        wrong = sum(a != b for a, b in zip(said, self.answers(routers), strict=True))
        yield Measurement(f"{CHECK}answers unlike generate's, {action.label}, batch {size}", wrong, "answers", 0, "")
        yield _ratio(name, lambda: run_all(routers), whole, 1.05, rounds)


def _long_questions(config: RunConfig, backbone: Backbone, count: int, tokens: int, rounds: int) -> Measurement:
    """FULL answers to long questions about small images, continuing the text pass or reading all again."""
    data = Synthetic(config, count, tokens, SMALL_IMAGE)
    route = Routes(config, backbone, backbone, data, data.items(), decoding_of(config.eval))
    routers = route.routers(np.full(count, int(Action.FULL)), count)

    def answer(reuse: bool) -> None:
        before = backbone.cache_reuse
        backbone.cache_reuse = reuse
        try:
            run_all(routers)
        finally:
            backbone.cache_reuse = before

    name = f"FULL with reuse against none, questions of {tokens} tokens, batch {count}"
    return _ratio(name, lambda: answer(True), lambda: answer(False), 0.8, rounds)


@torch.inference_mode()
def pruning(config: RunConfig, rounds: int, tiny: bool = False) -> Iterator[Measurement]:
    """The language model's prefill of a pruned FULL image, against its share of the whole image's by tokens.

    Images are larger than the packaged backbone knows, so that image tokens are most of the prompt.
    """
    amounts, _, _ = _setting(config, tiny)
    full = Resolution(amounts.side, amounts.side**2)
    budget = replace(config.vision_budget, full=full)
    backbone = _shared(config, budget, cache_reuse=False)
    data = Synthetic(config, amounts.images, 12, (amounts.side, amounts.side))
    batch = backbone.builder.build(data.items(), [Action.FULL])

    def prefill(share: float) -> tuple[Callable[[], float], int]:
        """Takes a prefill's seconds, and its tokens."""
        pruning = None if share == 1.0 else Pruning("stride", share)
        images = backbone.encode(replace(batch.images[Action.FULL], pruning=pruning))

        def call() -> Prefill:
            return backbone.look(batch, Action.FULL, None, images)

        return lambda: seconds(call), int(call().mask.sum())

    whole, tokens = prefill(1.0)
    for share in RATIOS:
        ours, left = prefill(share)
        name = f"prefill pruned to {share:g}, {left} of {tokens} tokens, time per token against whole images"
        yield ratio(name, ours, lambda left=left: whole() * left / tokens, 1.15, rounds)  # type: ignore[misc]


def run_all(routers: Sequence[tuple[Router, Sequence[Item]]]) -> None:
    """Answer every batch; images are opened anew."""
    for router, items in routers:
        router.backbone.builder.forget()
        router(items)


def texts_of(backbone: Backbone, ids: Tensor) -> list[str]:
    """Answers in words, up to their first end token."""
    rows = [row[: next((i for i, t in enumerate(row) if t in backbone.end_tokens), len(row))] for row in ids.tolist()]
    return [text.strip() for text in backbone.builder.tokenizer.batch_decode(rows, skip_special_tokens=True)]


def _ratio(
    name: str, ours: Callable[[], object], bare: Callable[[], object], target: float, rounds: int
) -> Measurement:
    """Both once before they count."""
    ours()
    bare()
    return ratio(name, lambda: seconds(ours), lambda: seconds(bare), target, rounds)


def _setting(config: RunConfig, tiny: bool) -> tuple[Amounts, Backbone, VQADataset]:
    backbone = _shared(config, config.vision_budget, cache_reuse=True)
    return AMOUNTS[tiny], backbone, load_dataset(config.dataset, config.eval.split)


def _shared(config: RunConfig, budget: VisionBudgetConfig, cache_reuse: bool) -> Backbone:
    found = shared_backbone(config.backbone, budget, cache_reuse)
    assert isinstance(found, Backbone)  # this is about the fast path
    return found


def _plain(config: RunConfig, backbone: Backbone) -> Backbone:
    """The same weights in transformers' own modules."""
    model = load_model(config.backbone, find_checkpoint(config.backbone)).to(backbone.device)
    model.generation_config = backbone.model.generation_config
    plain = Backbone(model, backbone.builder, backbone.end_tokens, backbone.fingerprint, backbone.cache_reuse)
    return plain.eval().requires_grad_(False)
