"""The path of a question in its phases, checked and then timed: text pass, vision, prefill, decoding, pruning."""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from tests.performance import floors
from tests.performance.measure import Measurement
from tests.performance.random_weights import random_backbone
from tests.performance.workload import Bench, Side, Timing
from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.errors import VoVNetError
from vovnet.vlm.protocol import Decoding
from vovnet.vlm.qwen.inputs import Pixels

RATIOS = (1.0, 0.75, 0.5, 0.25)  # kept shares of an image's tokens
CHECK = "check: "  # begins the names of what must hold before any speed counts
CHECK_ROWS, CHECK_LAYERS = 4, 4


def checks(bench: Bench) -> Iterator[Measurement | Timing]:
    """Reuse and pruning change nothing that they should not, and answers have their full length."""
    backbone, image = bench.backbone, bench.load.images[0]
    logits = _reuse(bench)
    single, reused, alone, wrong = logits
    if not bool(torch.isfinite(single).all()):
        raise VoVNetError("the random weights overflow in this precision; lower backbone.dtype's range by float32.")
    # Rounding alone: the same prompt read in a batch and by itself, where kernels add in another order.
    rounding = max(_error(alone, single[:1]), torch.finfo(backbone.model.dtype).eps)
    yield Measurement(
        f"{CHECK}reuse against one pass, in roundings of {backbone.model.dtype}",
        _error(reused, single) / rounding,
        "x",
        3.0,
        f"relative error {_error(reused, single):.2e}; of rounding {rounding:.2e}; "
        f"of another question's cache {_error(wrong, single):.2e}",
    )
    yield from _in_float32(bench)
    batch = bench.batch(CHECK_ROWS, image)
    with bench.pruned(1.0):
        kept = bench.batch(CHECK_ROWS, image)
        whole = backbone.look(kept, Action.FULL, backbone.text_pass(kept)).logits
    yield Measurement(f"{CHECK}pruning that keeps all", _error(whole, reused), "relative", 1e-6, "against none")
    answers = backbone.decode(backbone.text_pass(batch), _greedy(bench), batch, Action.NO)
    short = sum(answer.tokens != bench.load.decoded for answer in answers)
    yield Measurement(f"{CHECK}answers that end early", short, "of 4", 0, f"{bench.load.decoded} tokens are asked for")


def phases(bench: Bench) -> Iterator[Measurement | Timing]:
    """Every phase at every batch size; the prefill with and without reuse of the text pass's cache."""
    load, backbone, text = bench.load, bench.backbone, bench.sizes.text
    yield from _preparation(bench)
    for size in load.batches:
        for question in load.questions:
            batch = bench.batch(size, load.images[0], question, actions=[Action.NO])
            length = prompt_length(bench, question)
            work = floors.prefill(text, [length] * size, [0] * size)
            call = lambda batch=batch: backbone.text_pass(batch)  # noqa: E731
            yield bench.time("text pass", f"{question} tokens", size, size * length, call, work)
        for image in load.images:
            for action in VISUAL_ACTIONS:
                yield from _visual(bench, size, image, action)
        for action in (Action.NO, Action.FULL):
            yield _decoding(bench, size, load.images[0], action)


def pruning(bench: Bench) -> Iterator[Measurement | Timing]:
    """The language model's prefill at fewer tokens, which should cost in proportion."""
    image, size = bench.load.images[-1], bench.load.batches[-1]
    whole: tuple[float, int] | None = None
    for ratio in RATIOS:
        with bench.pruned(ratio):
            timing = _language(bench, size, image, Action.FULL, f"FULL pruned to {ratio:g}")
        yield timing
        assert timing.seconds is not None
        if whole is None:
            whole = timing.seconds, timing.tokens
        else:
            yield _in_proportion(f"prefill pruned to {ratio:g}", timing, whole)


def proportion(bench: Bench) -> Iterator[Measurement | Timing]:
    """COARSE's prefill beside FULL's, in the language model."""
    for image in bench.load.images:
        size = bench.load.batches[-1]
        full = _language(bench, size, image, Action.FULL, f"FULL {_pixels(image)}")
        coarse = _language(bench, size, image, Action.COARSE, f"COARSE {_pixels(image)}")
        yield from (full, coarse)
        assert full.seconds is not None
        yield _in_proportion(f"COARSE prefill of {_pixels(image)}", coarse, (full.seconds, full.tokens))


def _in_proportion(name: str, timing: Timing, whole: tuple[float, int]) -> Measurement:
    """Seconds per token by those of the whole image."""
    assert timing.seconds is not None
    value = timing.seconds / whole[0] / (timing.tokens / whole[1])
    detail = f"{timing.seconds * 1e3:.1f} ms for {timing.tokens} tokens, {whole[0] * 1e3:.1f} ms for {whole[1]}"
    return Measurement(f"{name}, time per token against FULL", value, "x", 1.15, detail)


def _preparation(bench: Bench) -> Iterator[Timing]:
    """Resizing on one CPU core; the way to the device and cutting there. Hidden where workers prepare ahead."""
    for image in bench.load.images:
        for action in VISUAL_ACTIONS:
            reference = bench.data(1, image)[0].images[0].load()
            begun = time.perf_counter()
            picture = bench.backbone.builder.pictures(reference, [action])[action]
            took, name = time.perf_counter() - begun, f"{action.label} {_pixels(image)}"
            tokens = bench.image_tokens(image, action)
            yield Timing("image preparation", name, 1, tokens, took, note="one CPU core")
            dtype = bench.backbone.model.dtype
            pixels = Pixels.of([picture], ((0,),), bench.backbone.builder.cut)
            call = lambda pixels=pixels, dtype=dtype: pixels.patches(bench.device, dtype)  # noqa: E731
            yield bench.time("image to device, cut", name, 1, tokens, call, None)


def _visual(bench: Bench, size: int, image: Side, action: Action) -> Iterator[Timing]:
    """The vision tower alone, then vision and prefill with and without reuse."""
    backbone, sizes = bench.backbone, bench.sizes
    batch = bench.batch(size, image, actions=[action])
    text, name = backbone.text_pass(batch), f"{action.label} {_pixels(image)}"
    seen = floors.vision(sizes, [bench.patches(image, action)] * size)
    tokens = size * bench.image_tokens(image, action)
    yield bench.time("vision tower", name, size, tokens, lambda: backbone.encode(batch.images[action]), seen)
    for reuse in (True, False):
        new, past = new_and_past(bench, image, action, reuse)
        work = seen + floors.prefill(sizes.text, [new] * size, [past] * size)
        with bench.cache_reuse(reuse):
            case = f"{name}, {'reuse' if reuse else 'no reuse'}"
            yield bench.time("prefill", case, size, size * new, lambda: backbone.look(batch, action, text), work)


def _language(bench: Bench, size: int, image: Side, action: Action, case: str) -> Timing:
    """The language model's part of a prefill in one pass, over images that are encoded already."""
    backbone = bench.backbone
    batch = bench.batch(size, image, actions=[action])
    images = backbone.encode(batch.images[action])
    new, _ = new_and_past(bench, image, action, reuse=False)
    work = floors.prefill(bench.sizes.text, [new] * size, [0] * size)
    call = lambda: backbone.look(batch, action, None, images)  # noqa: E731
    with bench.cache_reuse(False):
        return bench.time("prefill, language model", case, size, size * new, call, work)


def _decoding(bench: Bench, size: int, image: Side, action: Action) -> Timing:
    backbone = bench.backbone
    batch = bench.batch(size, image, actions=[action])
    state = backbone.text_pass(batch)
    if action is not Action.NO:
        state = backbone.look(batch, action, state)
    greedy, written = _greedy(bench), size * bench.load.decoded
    work = floors.decoding(bench.sizes.text, [state.mask.shape[1]] * size, bench.load.decoded)
    call = lambda: backbone.decode(state, greedy, batch, action)  # noqa: E731
    return bench.time("decoding", f"{bench.load.decoded} tokens after {action.label}", size, written, call, work)


def _reuse(bench: Bench) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of FULL in one pass, with reuse, of the first prompt by itself, and with another question's cache."""
    backbone, image = bench.backbone, bench.load.images[0]
    batch, first = bench.batch(CHECK_ROWS, image), bench.batch(1, image)
    text = backbone.text_pass(batch)
    reused = backbone.look(batch, Action.FULL, text).logits
    wrong = backbone.look(batch, Action.FULL, text.rows([*range(1, CHECK_ROWS), 0])).logits
    with bench.cache_reuse(False):
        single = backbone.look(batch, Action.FULL, None).logits
        alone = backbone.look(first, Action.FULL, None).logits
    return single, reused, alone, wrong


def _in_float32(bench: Bench) -> Iterator[Measurement]:
    """At full width and few layers, where rounding hides nothing."""
    config = replace(bench.config.backbone, dtype="float32")
    text = replace(bench.sizes.text, layers=min(CHECK_LAYERS, bench.sizes.text.layers))
    sizes = replace(bench.sizes, text=text)
    exact = random_backbone(config, bench.load.budget or bench.config.vision_budget, sizes)
    own = replace(bench, backbone=exact, sizes=sizes)
    single, reused, _, wrong = _reuse(own)
    detail = f"{text.layers} layers; of another question's cache {_error(wrong, single):.2e}"
    yield Measurement(f"{CHECK}reuse against one pass in float32", _error(reused, single), "relative", 1e-4, detail)
    yield _graphs(own)


def _graphs(bench: Bench) -> Measurement:
    """Tokens that graphs write otherwise than one kernel after another; for batches of unlike lengths, twice each."""
    backbone, image, load = bench.backbone, bench.load.images[0], bench.load
    how = "graphs" if backbone.graphs is not None and backbone.runs_graphs() else "not run: no GPU, or switched off"
    differing = 0
    for rows, question in ((CHECK_ROWS, load.questions[0]), (2, load.questions[-1])) * 2:
        batch = bench.batch(rows, image, question)
        text = backbone.text_pass(batch)
        for state in (text, backbone.look(batch, Action.FULL, text)):
            plain, _ = backbone.write(state, _greedy(bench), batch, Action.NO)
            if backbone.graphs is not None and backbone.runs_graphs():
                differing += int((backbone.graphs.decode(state, load.decoded)[0] != plain).sum())
    return Measurement(f"{CHECK}tokens by CUDA graphs against plain decoding", differing, "tokens", 0, how)


def _error(found: Tensor, right: Tensor) -> float:
    """Size of a difference relative to what is right."""
    return float((found - right).norm() / right.norm())


def new_and_past(bench: Bench, image: Side, action: Action, reuse: bool) -> tuple[int, int]:
    """Prompt tokens that a vision pass reads, and those that it finds in the cache."""
    form = bench.backbone.builder.format
    past = len(form.head) + bench.load.question if reuse else 0
    return prompt_length(bench, bench.load.question) + bench.image_tokens(
        image, action
    ) + 2 - past, past  # 2 frame an image


def prompt_length(bench: Bench, question: int) -> int:
    """Tokens of a prompt without an image."""
    form = bench.backbone.builder.format
    return len(form.head) + question + len(form.tail)


def _greedy(bench: Bench) -> Decoding:
    return Decoding(bench.load.decoded, num_beams=1, do_sample=False, temperature=1.0)


def _pixels(image: Side) -> str:
    return f"{image[0]}x{image[1]}"
