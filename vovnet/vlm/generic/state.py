"""What has been read of a batch: rows that went through the model together, and their cache."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from vovnet.vlm.generic.prompts import Prompt


@dataclass(frozen=True)
class Part:
    """Rows that the model has read in one call.

    Attributes:
        rows: their places in the batch.
        prompts: what was read.
        inputs: token inputs by name, [n, L, ...]; padded on the left.
        cache: of all L columns; None where it is not to be continued.
        hidden, logits: at the last token, [n, D] and float32 [n, V].
        prefix: columns, token inputs and cache of what the prompts with images share with these; None without reuse.
    """

    rows: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    inputs: dict[str, Tensor]
    cache: Any
    hidden: Tensor
    logits: Tensor
    prefix: "Prefix | None" = None
    reused: int = 0  # leading columns that an earlier pass had read

    def select(self, own: Sequence[int], rows: Sequence[int]) -> "Part":
        """Some of the rows, under their places in another batch; caches are copied, since a cache grows in place."""
        index = torch.tensor(own, device=self.logits.device)
        return Part(
            tuple(rows),
            tuple(self.prompts[row] for row in own),
            {name: tensor.index_select(0, index) for name, tensor in self.inputs.items()},
            rows_of(self.cache, index),
            self.hidden.index_select(0, index),
            self.logits.index_select(0, index),
            None if self.prefix is None else self.prefix.select(index),
            self.reused,
        )


@dataclass(frozen=True)
class Prefix:
    """The beginning of some prompts: token inputs [n, L, ...] and the cache of all L columns."""

    inputs: dict[str, Tensor]
    cache: Any

    def select(self, index: Tensor) -> "Prefix":
        """Some of the rows."""
        return Prefix({n: t.index_select(0, index) for n, t in self.inputs.items()}, rows_of(self.cache, index))


def join_parts(parts: Sequence[Part], config: Any) -> Part:
    """Rows of several parts one after another, padded on the left, with a cache of their own, which may grow.

    The parts stay as they are.

    Args:
        parts: one, or several of which each ``joins``.
        config: of the model that read them.
    """
    if len(parts) == 1:
        return replace(parts[0], cache=copy.deepcopy(parts[0].cache))
    length = max(part.inputs["input_ids"].shape[1] for part in parts)
    names = {name: tensor for part in parts for name, tensor in part.inputs.items()}
    cache = DynamicCache(config=config)
    for number, layers in enumerate(zip(*(part.cache.layers for part in parts), strict=True)):
        if layers[0].keys is not None:
            keys, values = ([_after_zeros(getattr(one, n), length, 2) for one in layers] for n in ("keys", "values"))
            cache.update(torch.cat(keys), torch.cat(values), number)
    return Part(
        rows=tuple(range(sum(len(part.rows) for part in parts))),
        prompts=tuple(prompt for part in parts for prompt in part.prompts),
        inputs={
            # What is said of image tokens only is zero for a prompt without any.
            name: torch.cat(
                [_after_zeros(p.inputs.get(name, torch.zeros_like(p.inputs["input_ids"])), length, 1) for p in parts]
            )
            for name in names
        },
        cache=cache,
        hidden=torch.cat([part.hidden for part in parts]),
        logits=torch.cat([part.logits for part in parts]),
    )


def joins(part: Part) -> bool:
    """Whether a part's rows can go on beside others': a layer holds keys and values of all columns, or of the newest
    ones where it looks at no other, or reads another layer's; what a recurrent layer holds counts columns."""
    length = part.inputs["input_ids"].shape[1]
    return (
        isinstance(part.cache, DynamicCache)
        and all(type(one) is DynamicSlidingWindowLayer or _columns(one) in (0, length) for one in part.cache.layers)
        and all(tensor.ndim == 2 for tensor in part.inputs.values())  # none says which images a token looks at
    )


def _columns(layer: Any) -> int | None:
    """Columns that a layer of full attention holds; 0 where it reads another's, None for one of another kind."""
    if type(layer) is DynamicLayer:
        return int(layer.keys.shape[2])
    return 0 if getattr(layer, "keys", layer) is None else None


def _after_zeros(tensor: Tensor, length: int, axis: int) -> Tensor:
    """A tensor with so many columns along an axis, zeros before its own."""
    missing = list(tensor.shape)
    missing[axis] = length - tensor.shape[axis]
    return tensor if missing[axis] == 0 else torch.cat([tensor.new_zeros(missing), tensor], dim=axis)


def rows_of(cache: Any, index: Tensor) -> Any:
    """A copy of some rows of a cache, which stays as it is."""
    if cache is None:
        return None
    cache = copy.deepcopy(cache)
    cache.reorder_cache(index)  # ``batch_select_indices`` is missing for recurrent layers
    return cache


@dataclass(frozen=True)
class GenericState:
    """A batch that has been read; ``vovnet.vlm.protocol.State``."""

    read: tuple[Part, ...] = ()
    source: "tuple[GenericState, tuple[int, ...]] | None" = field(default=None, repr=False)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The rows by the calls that read them; selected from the whole batch when they are first asked for."""
        if self.source is None:
            return self.read
        whole, rows = self.source
        place = {row: number for number, row in enumerate(rows)}
        found = []
        for part in whole.parts:
            own = [number for number, row in enumerate(part.rows) if row in place]
            if own:
                found.append(part.select(own, [place[part.rows[number]] for number in own]))
        return tuple(found)

    def split(self, groups: Sequence[Sequence[int]]) -> "list[GenericState]":
        """The samples of each group; itself where one group holds all in order."""
        if [list(rows) for rows in groups] == [list(range(len(self.prompts)))]:
            return [self]
        return [GenericState(source=(self, tuple(rows))) for rows in groups]

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Of all rows in order."""
        if self.source is not None:
            return [self.source[0].prompts[row] for row in self.source[1]]
        by_row = {row: prompt for part in self.read for row, prompt in zip(part.rows, part.prompts, strict=True)}
        return [by_row[row] for row in range(len(by_row))]

    @property
    def hidden(self) -> Tensor:
        """[B, D]."""
        return in_order(self.parts, [part.hidden for part in self.parts])

    @property
    def logits(self) -> Tensor:
        """Float32 [B, V]."""
        return in_order(self.parts, [part.logits for part in self.parts])

    @property
    def prompt_tokens(self) -> np.ndarray:
        """[B]."""
        return np.array([prompt.length for prompt in self.prompts])

    @property
    def vision_tokens(self) -> np.ndarray:
        """[B]."""
        return np.array([prompt.vision_tokens for prompt in self.prompts])

    @property
    def patches(self) -> np.ndarray:
        """[B]."""
        return np.array([prompt.patches for prompt in self.prompts])

    @property
    def reused_tokens(self) -> np.ndarray:
        """[B]."""
        found = np.zeros(len(self.prompts), dtype=np.int64)
        for part in self.parts:
            if part.reused:
                found[list(part.rows)] = part.inputs["attention_mask"][:, : part.reused].sum(1).cpu().numpy()
        return found


def in_order(parts: Sequence[Part], values: Sequence[Tensor]) -> Tensor:
    """Values of each part's rows, [n, ...], in the batch's order."""
    rows = [row for part in parts for row in part.rows]
    joined = torch.cat(list(values))
    if rows == list(range(len(rows))):
        return joined
    return joined.index_select(0, torch.tensor(rows, device=joined.device).argsort())
