"""Attention kernels and compilation, where this machine has them; where not, the table says so."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import is_flash_attn_2_available

from tests.performance import floors
from tests.performance.measure import Measurement
from tests.performance.phases import new_and_past
from tests.performance.workload import Bench, Timing
from vovnet.actions import Action
from vovnet.vlm.protocol import Decoding
from vovnet.vlm.qwen.attention import attend_by_length, compile_parts, uncompile
from vovnet.vlm.qwen.graphs import GraphDecoder

KERNELS = {
    "sdpa, flash kernel": SDPBackend.FLASH_ATTENTION,
    "sdpa, cudnn kernel": SDPBackend.CUDNN_ATTENTION,
    "sdpa, memory-efficient kernel": SDPBackend.EFFICIENT_ATTENTION,
}


def attention(bench: Bench) -> Iterator[Measurement | Timing]:
    """A FULL prefill in one pass under each kernel of sdpa, and by the flash_attn package."""
    for name, kernel in KERNELS.items():
        yield _prefill(bench, name, lambda kernel=kernel: sdpa_kernel(kernel))  # type: ignore[misc]
    if not is_flash_attn_2_available():
        yield Timing(
            "attention and compilation", "flash_attention_2", 0, 0, None, note="not present: no package flash_attn"
        )
        return
    before = bench.config.backbone.attn_implementation
    bench.backbone.model.set_attn_implementation("flash_attention_2")
    yield _prefill(bench, "flash_attention_2")
    bench.backbone.model.set_attn_implementation(before)
    attend_by_length(bench.backbone.model)


def compiled(bench: Bench) -> Iterator[Measurement | Timing]:
    """What ``backbone.compile`` and ``backbone.cuda_graphs`` change: vision tower, prefill and decoding."""
    if bench.device.type == "cuda":
        yield _vision(bench, "not compiled, images pinned", pinned=True)
    yield from (_vision(bench, "not compiled"), _prefill(bench, "not compiled"), _decode(bench, "not compiled"))
    graphs, bench.backbone.graphs = bench.backbone.graphs, None
    yield _decode(bench, "neither compiled nor a graph")
    bench.backbone.graphs = graphs
    parts = compile_parts(bench.backbone.model)
    yield from (_vision(bench, "compiled"), _prefill(bench, "compiled"))
    if graphs is not None:
        bench.backbone.graphs = GraphDecoder(graphs.model, graphs.ends, graphs.filler)  # to be captured anew
    yield _decode(bench, "compiled")
    bench.backbone.graphs = graphs
    uncompile(parts)


def _vision(bench: Bench, case: str, pinned: bool = False) -> Timing:
    size, image, backbone = _size(bench), bench.load.images[-1], bench.backbone
    batch = bench.batch(size, image, actions=[Action.FULL])
    pixels = batch.images[Action.FULL].pin_memory() if pinned else batch.images[Action.FULL]
    work = floors.vision(bench.sizes, [bench.patches(image, Action.FULL)] * size)
    tokens = size * bench.image_tokens(image, Action.FULL)

    def see() -> Timing:
        call = lambda: backbone.encode(pixels)  # noqa: E731
        return bench.time("attention and compilation", f"vision tower, {case}", size, tokens, call, work)

    return _or_why_not(see, f"vision tower, {case}")


def _prefill(bench: Bench, case: str, under: Callable[[], AbstractContextManager[None]] = nullcontext) -> Timing:
    size, image, backbone = _size(bench), bench.load.images[-1], bench.backbone
    batch = bench.batch(size, image, actions=[Action.FULL])
    images = backbone.encode(batch.images[Action.FULL])
    new, _ = new_and_past(bench, image, Action.FULL, reuse=False)
    work = floors.prefill(bench.sizes.text, [new] * size, [0] * size)

    def read() -> Timing:
        with bench.cache_reuse(False), under():
            call = lambda: backbone.look(batch, Action.FULL, None, images)  # noqa: E731
            return bench.time("attention and compilation", f"FULL prefill, {case}", size, size * new, call, work)

    return _or_why_not(read, f"FULL prefill, {case}")


def _decode(bench: Bench, case: str) -> Timing:
    size, backbone, load = _size(bench), bench.backbone, bench.load
    batch = bench.batch(size, load.images[0], actions=[Action.NO])
    state, greedy = backbone.text_pass(batch), Decoding(load.decoded, 1, do_sample=False, temperature=1.0)
    work = floors.decoding(bench.sizes.text, [state.mask.shape[1]] * size, load.decoded)

    def decode() -> Timing:
        call = lambda: backbone.decode(state, greedy, batch, Action.NO)  # noqa: E731
        name = f"{load.decoded} tokens, {case}"
        return bench.time("attention and compilation", name, size, size * load.decoded, call, work)

    return _or_why_not(decode, f"{load.decoded} tokens, {case}")


def _or_why_not(measure: Callable[[], Timing], case: str) -> Timing:
    """A kernel or compiler that is not there says so by a RuntimeError."""
    try:
        return measure()
    except torch.OutOfMemoryError:  # a kernel that is there
        raise
    except RuntimeError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        return Timing("attention and compilation", case, 0, 0, None, note=f"not present: {reason}")


def _size(bench: Bench) -> int:
    return bench.load.batches[len(bench.load.batches) // 2]
