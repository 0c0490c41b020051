"""What routing costs: the decision itself, live batches of mixed actions, collection, and what reuse saves."""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from tests.performance.bare import BareLoop
from tests.performance.clock import once, timed
from tests.performance.measure import Measurement, ratio
from tests.performance.random_weights import TOKENIZER
from tests.performance.workload import Bench, Side, Synthetic, Timing
from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import VQADataset
from vovnet.outcomes.branches import Group, read_text, run_groups, text_outcomes
from vovnet.outcomes.collect import Collector
from vovnet.outcomes.judge import judged, make_judge
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.outcomes.store import OutcomeStore
from vovnet.outcomes.tables import Tables
from vovnet.outcomes.units import Tokens
from vovnet.policy.card import make_card
from vovnet.policy.features import feature_width
from vovnet.policy.head import PolicyHead
from vovnet.policy.protocol import Policy, Step, View
from vovnet.policy.route import Router
from vovnet.policy.vovnet import ValueHead, VoVNet
from vovnet.schema import RunConfig
from vovnet.vlm.protocol import VLM, Decoding

MIXES = ((0.0, 0.0, 1.0), (0.3, 0.4, 0.3), (0.7, 0.2, 0.1))  # shares of NO, COARSE and FULL
TARGET_MIX = MIXES[1]


class Dealt(Policy):
    """Decides as a trained policy does, then deals actions out in given shares: random weights mean nothing."""

    needs = VoVNet.needs

    def __init__(self, policy: VoVNet, dealt: np.ndarray) -> None:
        self.policy, self.dealt = policy, dealt

    def step(self, view: View) -> Step:
        """Do the work of deciding, and return what was dealt."""
        return replace(self.policy.step(view), looks=self.dealt[: len(view)])


def targets(bench: Bench) -> Iterator[Measurement | Timing]:
    """Collection against bare forward passes, the decision against a FULL prefill, reuse against none."""
    size, image = bench.load.batches[-1], bench.load.images[0]
    yield _collection(bench, bench.load.batches[len(bench.load.batches) // 2], image)
    yield _overhead(bench, size, image)
    for question in bench.load.questions:
        yield _saving(bench, bench.load.batches[len(bench.load.batches) // 2], image, question)


def live(bench: Bench) -> Iterator[Measurement | Timing]:
    """Mixed batches end to end, against what each action takes by itself."""
    size, image = bench.load.batches[-1], bench.load.images[0]
    data = bench.data(size, image)
    items = data.items()
    took: dict[tuple[float, ...], float] = {}
    for shares in (*MIXES, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)):
        router = _router(bench, data, deal(shares, size))
        found = timed(lambda router=router: router(items), bench.device, bench.rounds)  # type: ignore[misc]
        took[shares] = found.seconds
        case = "/".join(f"{share:.0%}" for share in shares).replace("%", "") + " NO/COARSE/FULL"
        tokens = size * (bench.load.question + bench.load.decoded)
        yield bench.timing("live routing", case, size, tokens, found, None)
    batch = bench.batch(size, image)
    text = timed(lambda: read_text(bench.backbone, batch), bench.device, bench.rounds).seconds
    pure = [took[tuple(float(a is action) for a in USUAL)] - text for action in USUAL]
    ideal = text + sum(share * seconds for share, seconds in zip(TARGET_MIX, pure, strict=True))
    live = took[TARGET_MIX]
    detail = f"{live:.3f} s against {ideal:.3f} s of whole batches by their shares"
    yield Measurement("live routing at 30/40/30 against the ideal mix", live / ideal, "x", 1.1, detail)
    alone = text + _groups(bench, data, deal(TARGET_MIX, size))
    detail = f"{live:.3f} s against {alone:.3f} s of the same groups one after another"
    yield Measurement("live routing at 30/40/30 against its parts", live / alone, "x", 1.1, detail)


def deal(shares: Sequence[float], size: int) -> np.ndarray:
    """Actions in the given shares, mixed among the rows; a last share takes what rounding leaves."""
    bounds = np.round(np.cumsum(shares) * size).astype(int)
    actions = np.searchsorted(bounds, np.arange(size), side="right")
    return np.asarray(np.random.default_rng(0).permutation(actions), dtype=np.int64)


def _collection(bench: Bench, size: int, image: Side) -> Measurement:
    """Two batches through the collector into a fresh store, and the forward passes of the same by themselves."""
    data = bench.data(2 * size, image)
    options = replace(bench.config.eval, batch_size=size, chunk_rows=2 * size, num_workers=0, max_new_tokens=16)
    config = replace(bench.config, eval=options)
    items, builder = data.items(), bench.backbone.builder
    batches = [builder.build(items[start : start + size], VISUAL_ACTIONS) for start in range(0, len(items), size)]
    bare = BareLoop.of(bench.backbone, batches, options.max_new_tokens)
    keys = table_keys(config, TOKENIZER, data, looks_of(config, USUAL))

    def collect() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = OutcomeStore(folder)
            tables = Tables.of(store, keys, data, with_text=True, with_nll=True)
            Collector(store, tables.collected, USUAL, data, options, lambda: bench.backbone, {}, "benchmark").fill(
                len(data)
            )

    collect()
    bare()
    ours, yardstick = lambda: once(collect, bench.device), lambda: once(bare, bench.device)
    return ratio("collection against bare forward passes", ours, yardstick, 1 / 0.9, bench.rounds)


def _overhead(bench: Bench, size: int, image: Side) -> Measurement:
    """Features to the host, head, decision and regrouping."""
    data, backbone = bench.data(size, image), bench.backbone
    actions = deal(TARGET_MIX, size)
    router, batch = _router(bench, data, actions), bench.batch(size, image)
    samples = [sample for _, sample, _ in data.items()]
    state = read_text(backbone, batch)
    groups = [rows for action in USUAL if (rows := np.flatnonzero(actions == int(action)).tolist())]

    def route() -> None:
        text = text_outcomes(state, batch, backbone.feature_dtype)
        router.policy.step(View(np.arange(size), text=text, costs=router.costs(samples)))
        state.prefill.split(groups)

    spent = timed(route, bench.device, bench.rounds).seconds
    full = timed(lambda: backbone.look(batch, Action.FULL, state.prefill), bench.device, bench.rounds).seconds
    detail = f"{spent * 1e3:.2f} ms beside a FULL prefill of {full * 1e3:.1f} ms, {size} samples"
    return Measurement("routing overhead by a FULL prefill", spent / full, "x", 0.01, detail)


def _saving(bench: Bench, size: int, image: Side, question: int) -> Measurement:
    """A FULL prefill that continues the text pass, against one that reads the question again."""
    backbone = bench.backbone
    batch = bench.batch(size, image, question)
    images, text = backbone.encode(batch.images[Action.FULL]), backbone.text_pass(batch)

    def seconds(on: bool) -> float:
        with bench.cache_reuse(on):
            return once(lambda: backbone.look(batch, Action.FULL, text, images), bench.device)

    for on in (True, False):
        seconds(on)
    target = 1.0 if question >= min(100, bench.load.question) else 1.1
    name = f"FULL prefill with reuse against none, {question} text tokens"
    return ratio(name, lambda: seconds(True), lambda: seconds(False), target, bench.rounds)


def _groups(bench: Bench, data: Synthetic, actions: np.ndarray) -> float:
    """Seconds of each action's samples as batches of their own, text pass given."""
    total = 0.0
    for action in USUAL:
        items = [data.items()[row] for row in np.flatnonzero(actions == int(action))]
        if not items:
            continue
        batch = bench.backbone.builder.build(items, VISUAL_ACTIONS if action is not Action.NO else [])
        state, judge = read_text(bench.backbone, batch), make_judge(data)

        def branch(batch=batch, action=action, state=state, judge=judge) -> None:  # type: ignore[no-untyped-def]
            (made,) = run_groups(bench.backbone, [Group(batch, action, state.prefill)], _greedy(bench), 0)
            judged(made, batch.indices, judge)

        branch()
        total += statistics.median(once(branch, bench.device) for _ in range(bench.rounds))
    return total


def _router(bench: Bench, data: Synthetic, actions: np.ndarray) -> Router:
    return dealt_router(bench.config, bench.backbone, data, actions, _greedy(bench))


def dealt_router(config: RunConfig, backbone: VLM, data: VQADataset, actions: np.ndarray, decoding: Decoding) -> Router:
    """Routes as a trained policy would, but to ``actions``; the head has random weights."""
    width = feature_width(config.policy.feature_mode, backbone.hidden_size)
    space = config.menu
    torch.manual_seed(0)
    head = PolicyHead(width, config.policy.hidden_size, len(space), bounded=True)
    policy = VoVNet(ValueHead(head.eval, make_card(config, TOKENIZER, width)), config.policy.lambda_cost)
    unit = Tokens(backbone.builder.max_tokens)
    return Router(backbone, Dealt(policy, actions), decoding, make_judge(data), 0, unit)


def _greedy(bench: Bench) -> Decoding:
    return Decoding(bench.load.decoded, num_beams=1, do_sample=False, temperature=1.0)
