"""Greedy decoding as a CUDA graph: the host starts a whole step at once instead of a thousand kernels.

An H100 runs a decoding step of an 8B model in some 6 ms; starting its kernels one by one takes Python over 30.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer

from vovnet.vlm.decoding import GenerationState
from vovnet.vlm.qwen.forward import Prefill, cache_of, read

GROUPED = "grouped_queries_of_one_token"
BLOCK = 128  # columns: caches are rounded up to it, so that few lengths need a graph of their own
KEPT = 16  # sizes
EARNED = 8  # steps that a size takes kernel by kernel before its graph is captured, which costs about as much
WARM = 2  # steps before a capture: libraries take their workspaces in the first


class StaticLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in buffers of a fixed size; a step writes one column."""

    def __init__(self, keys: Tensor, values: Tensor, column: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.column = keys, values, column

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one token's keys and values; columns that hold nothing yet are masked."""
        self.keys.index_copy_(2, self.column, key_states)
        self.values.index_copy_(2, self.column, value_states)
        return self.keys, self.values


class Step:
    """One decoding step of a batch in tensors that stay where they are, with its graph once captured.

    Args:
        held: buffer for keys and values, [2 * layers, B, kv_heads, columns, head_dim].
    """

    def __init__(self, model: Any, held: Tensor, draft: GenerationState) -> None:
        rows, columns = held.shape[1], held.shape[3]
        self.model, self.held, self.draft = model, held, draft
        self.mask = torch.zeros(rows, 1, 1, columns, dtype=model.dtype, device=held.device)  # added to the scores
        self.position = torch.zeros(rows, dtype=torch.long, device=held.device)
        self.column = torch.zeros(1, dtype=torch.long, device=held.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.taken = 0  # steps
        self.cache = cache_of(held, lambda keys, values: StaticLayer(keys, values, self.column))

    def load(self, prefill: Prefill) -> None:
        """Take over a prompt that has been read, and its first token."""
        length = prefill.mask.shape[1]
        self.mask.fill_(torch.finfo(self.mask.dtype).min)
        self.mask[:, 0, 0, :length].masked_fill_(prefill.mask.bool(), 0)
        self.position.copy_(prefill.next_position)
        self.column.fill_(length)
        parts = [part for layer in prefill.cache.layers for part in (layer.keys, layer.values)]
        self.held[:, :, :, length:].zero_()  # masked, but 0 x NaN of an earlier batch would be NaN
        for own, part in zip(self.held[:, :, :, :length], parts, strict=True):
            own.copy_(part)
        self.draft.begin()
        self.draft.write(prefill.logits, prefill.logits.argmax(dim=-1))

    def run(self) -> None:
        """Read the last token and write the next."""
        self.mask.index_fill_(3, self.column, 0)
        language = self.model.model.language_model
        embeds = language.embed_tokens(self.draft.token[:, None])
        hidden = read(language, embeds, self.mask, self.position[None, :, None].expand(3, -1, -1), self.cache)
        logits = self.model.lm_head(hidden[:, -1]).float()
        self.draft.write(logits, logits.argmax(dim=-1))
        self.position += 1
        self.column += 1

    def warm_up(self) -> None:
        """Take steps from the first column on; the last answer may have ended at the last one."""
        for _ in range(WARM):
            self.draft.begin()
            self.column.zero_()
            self.run()

    def capture(self, pool: Any) -> None:
        """Record ``run``; what it does meanwhile is undone by the next ``load``."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.warm_up()
        torch.cuda.current_stream().wait_stream(stream)
        self.draft.begin()
        self.column.zero_()
        graph = torch.cuda.CUDAGraph()
        # Only this thread may not allocate. By default no thread may, and a loader's pinning thread, which takes
        # pinned memory whenever a batch is ready, would invalidate the capture (torch 2.11, H200).
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self.run()
        self.graph = graph

    def __call__(self) -> None:
        """A step, by its graph where it has one."""
        self.taken += 1
        if self.graph is None:
            self.run()
        else:
            self.graph.replay()


class GraphDecoder:
    """Greedy answers by one graph for each size of batch, cache and answer; all share one buffer of keys and values.

    A size whose answers are short or that does not come again has no graph: the same step, kernel by kernel.

    Args:
        capture: False runs the same steps without graphs, on any device.
    """

    def __init__(self, model: Any, ends: tuple[int, ...], filler: int, capture: bool = True) -> None:
        AttentionInterface.register(GROUPED, grouped_attention)
        self.model, self.ends, self.filler, self.capture = model, ends, filler, capture
        self._steps: OrderedDict[tuple[int, ...], Step] = OrderedDict()
        self._buffer: Tensor | None = None
        self._pool: Any = None

    def decode(self, prefill: Prefill, length: int) -> tuple[Tensor, Tensor]:
        """Ids [B, T] of at most ``length`` tokens, up to the step at which all have ended; log-probability [B]."""
        device = prefill.mask.device
        # A stream is the current device's, which need not be the model's (backbone.device=cuda:1).
        with self._attention(), torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            step = self._step(prefill, length)
            step.load(prefill)
            written = 1
            while written < length and not bool(step.draft.done.all()):
                step()
                written += 1
        return step.draft.chosen[:, :written].clone(), step.draft.log_prob.clone()

    def _step(self, prefill: Prefill, length: int) -> Step:
        keys = prefill.cache.layers[0].keys
        rows, heads, past, width = keys.shape
        columns = -(-(past + length - 1) // BLOCK) * BLOCK
        size = (rows, columns, length)
        # Tensors of inference mode could not be written to outside of it, and graphs outlive it.
        with torch.inference_mode(False), torch.no_grad():
            if size not in self._steps:
                held = self._held((2 * len(prefill.cache.layers), rows, heads, columns, width), keys)
                self._steps[size] = Step(
                    self.model, held, GenerationState(rows, length, self.ends, self.filler, keys.device)
                )
            step = self._steps[size]
            if self.capture and step.graph is None and step.taken >= EARNED:
                pool = self._pool or torch.cuda.graph_pool_handle()
                step.capture(pool)
                self._pool = pool  # one in which no capture succeeded has ended
        self._steps.move_to_end(size)
        if len(self._steps) > KEPT:
            self._forget_one()
        return step

    def _forget_one(self) -> None:
        """Let the oldest size go, one without a graph first: graphs cost much, and their pool ends with the last."""
        *older, _ = self._steps  # the newest has yet to earn its graph
        del self._steps[next((size for size in older if self._steps[size].graph is None), older[0])]

    def _held(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A part of the shared buffer; where it is too small, a larger one takes its place and the graphs go.

        Zeros, since a masked column still counts as 0 x its content.
        """
        size = torch.Size(shape).numel()
        if self._buffer is None or self._buffer.numel() < size:
            self.release()
            self._buffer = torch.zeros(size, dtype=like.dtype, device=like.device)
        return self._buffer[:size].view(shape)

    def release(self) -> None:
        """Give the memory back; a pool ends with the last graph in it."""
        self._steps.clear()
        self._buffer = self._pool = None

    @contextmanager
    def _attention(self) -> Iterator[None]:
        """The language model with ``grouped_attention``."""
        config = self.model.model.language_model.config
        before = config._attn_implementation
        config._attn_implementation = GROUPED
        try:
            yield
        finally:
            config._attn_implementation = before


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token: the query heads that share keys are rows of one query, and no key is repeated.

    Args:
        query: [B, heads, 1, head_dim]; key, value: [B, kv_heads, L, head_dim].
        attention_mask: added to the scores, [B, 1, 1, L].

    Returns:
        [B, 1, heads, head_dim], and no weights.
    """
    rows, heads, _, width = query.shape
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], width)
    mask = attention_mask.expand(-1, -1, grouped.shape[2], -1)
    out = nn.functional.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, 1, heads, width), None
