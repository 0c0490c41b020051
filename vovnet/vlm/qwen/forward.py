"""Padding, caches and the language model's forward pass: small pieces without any policy in them."""

import inspect
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from vovnet.vlm.qwen.prompt import Sequence


def read(
    language: Any,
    embeds: Tensor,
    mask: Tensor,
    positions: Tensor,
    cache: Any,
    places: Tensor | None = None,
    deepstack: list[Tensor] | None = None,
) -> Tensor:
    """Hidden states [B, new, D] of new tokens, after all that a cache holds; the cache grows in place.

    Args:
        language: the text model, Qwen3-VL's or Qwen2.5-VL's.
        embeds: of the new tokens, [B, new, D].
        mask: which of all columns are real, [B, L]; or what is added to the scores, [B, 1, new, L].
        positions: rotary positions of the new tokens, [3, B, new].
        places: where images stand among the new tokens, [B, new].
        deepstack: what is added there after each of the first layers, [places, D] each (Meng et al. 2024).
    """
    seen = {"visual_pos_masks": places, "deepstack_visual_embeds": deepstack} if deepstack else {}
    kept = {_cache_argument(type(language).forward): cache, "use_cache": cache is not None}
    out = language(inputs_embeds=embeds, attention_mask=mask, position_ids=positions, **kept, **seen)
    hidden: Tensor = out.last_hidden_state
    return hidden


@lru_cache(maxsize=8)
def _cache_argument(forward: Any) -> str:
    """What a text model calls its cache: ``cache`` from transformers 5.24 on."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


@dataclass(frozen=True)
class Padded:
    """Left-padded prompts: ids [B, L], mask [B, L] (1 is real), positions [3, B, L]."""

    ids: Tensor
    mask: Tensor
    positions: Tensor


@dataclass(frozen=True)
class Prefill:
    """A prompt that the language model has read and can go on from.

    Attributes:
        hidden: last-layer hidden state at the last token, [B, D].
        logits: next-token logits at the last token, float32 [B, V].
        cache: keys and values of all L tokens.
        mask: which cached columns are real, [B, L].
        next_position: rotary position of the next token, [B].
        counts: vision tokens, patches and reused tokens of each prompt, int [B, 3]; None for zeros.
    """

    hidden: Tensor
    logits: Tensor
    cache: Any
    mask: Tensor
    next_position: Tensor
    counts: np.ndarray | None = None

    @property
    def prompt_tokens(self) -> np.ndarray:
        """[B]."""
        return self.mask.sum(1).cpu().numpy()

    @property
    def vision_tokens(self) -> np.ndarray:
        """[B]."""
        return self._counted(0)

    @property
    def patches(self) -> np.ndarray:
        """[B]."""
        return self._counted(1)

    @property
    def reused_tokens(self) -> np.ndarray:
        """[B]."""
        return self._counted(2)

    def _counted(self, column: int) -> np.ndarray:
        return np.zeros(len(self.mask), dtype=np.int64) if self.counts is None else self.counts[:, column]

    def rows(self, rows: Rows[int]) -> "Prefill":
        """Some samples, with a cache of their own."""
        return self.split([rows])[0]

    def split(self, groups: Rows[Rows[int]]) -> list["Prefill"]:
        """The samples of each group, with a cache of their own; itself where one group holds all in order.

        All layers and groups are gathered in one call: one after another they would be hundreds of small ones, which
        take a GPU longer to start than to run.
        """
        if [list(rows) for rows in groups] == [list(range(len(self.mask)))]:
            return [self]
        order = torch.as_tensor([row for rows in groups for row in rows], device=self.mask.device)
        held = gather(self.cache, order)
        hidden, logits, mask, next_position = (
            part.index_select(0, order) for part in (self.hidden, self.logits, self.mask, self.next_position)
        )
        ends = np.cumsum([len(rows) for rows in groups]).tolist()
        counts = [None if self.counts is None else self.counts[list(rows)] for rows in groups]
        return [
            Prefill(hidden[a:b], logits[a:b], cache_of(held[:, a:b]), mask[a:b], next_position[a:b], counted)
            for a, b, counted in zip([0, *ends], ends, counts, strict=False)
        ]


def pad_left(
    sequences: Rows[Sequence], begins: Rows[int], filler: int, device: torch.device, columns: int | None = None
) -> Padded:
    """Stack ``sequences[i][begins[i]:]`` so that every row's last token stands in the last column.

    Args:
        columns: of the stack; None takes as many as the longest row needs.
    """
    length = columns or max(len(s.ids) - b for s, b in zip(sequences, begins, strict=True))
    ids = np.full((len(sequences), length), filler, dtype=np.int64)
    mask = np.zeros((len(sequences), length), dtype=np.int64)
    positions = np.zeros((3, len(sequences), length), dtype=np.int64)
    for i, (sequence, begin) in enumerate(zip(sequences, begins, strict=True)):
        start = length - len(sequence.ids) + begin
        ids[i, start:] = sequence.ids[begin:]
        mask[i, start:] = 1
        positions[:, i, start:] = sequence.positions[:, begin:]
    return Padded(*(torch.from_numpy(array).to(device) for array in (ids, mask, positions)))


def fork_cache(cache: Any, length: int) -> DynamicCache:
    """A new cache of the first ``length`` columns; the old one stays as it is.

    Nothing is copied: a cache grows into new tensors and never writes into those it holds.
    """
    return cache_of_parts((old.keys[:, :, :length], old.values[:, :, :length]) for old in cache.layers)


def gather(cache: Any, rows: Tensor) -> Tensor:
    """Keys and values of some rows, [2 * layers, rows, heads, L, head_dim], the two of a layer one after the other."""
    return torch.stack([part for layer in cache.layers for part in (layer.keys, layer.values)]).index_select(1, rows)


def _layer(keys: Tensor, values: Tensor) -> DynamicLayer:
    """A cache layer that holds these very tensors; ``DynamicCache.update`` would copy them."""
    layer = DynamicLayer()
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


def cache_of(held: Tensor, layer: Callable[[Tensor, Tensor], DynamicLayer] = _layer) -> DynamicCache:
    """The cache that holds what ``gather`` found, in layers of some kind."""
    cache, parts = DynamicCache(), held.unbind()
    for keys, values in zip(parts[::2], parts[1::2], strict=True):
        cache.layers.append(layer(keys, values))
    return cache


def cache_of_parts(held: Iterable[tuple[Tensor, Tensor]]) -> DynamicCache:
    """The cache that holds these keys and values, a pair a layer."""
    cache = DynamicCache()
    cache.layers.extend(_layer(keys, values) for keys, values in held)
    return cache


def join_prefills(parts: Rows[Prefill]) -> Prefill:
    """Samples of several prefills one after another, padded on the left to the longest."""
    if len(parts) == 1:
        return parts[0]
    by_layer = zip(*(part.cache.layers for part in parts), strict=True)
    return Prefill(
        hidden=torch.cat([part.hidden for part in parts]),
        logits=torch.cat([part.logits for part in parts]),
        cache=cache_of_parts(
            (_join([one.keys for one in layers]), _join([one.values for one in layers])) for layers in by_layer
        ),
        mask=_join([part.mask[:, None, :, None] for part in parts])[:, 0, :, 0],
        next_position=torch.cat([part.next_position for part in parts]),
    )


def _join(parts: Rows[Tensor]) -> Tensor:
    """[rows, heads, L, width] of several lengths one after another, zeros before the shorter ones."""
    rows, length = sum(len(part) for part in parts), max(part.shape[2] for part in parts)
    joined = parts[0].new_zeros(rows, parts[0].shape[1], length, parts[0].shape[3])
    begin = 0
    for part in parts:
        joined[begin : begin + len(part), :, length - part.shape[2] :] = part
        begin += len(part)
    return joined
