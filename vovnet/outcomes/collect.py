"""Filling the store: each missing branch once per sample, in chunks that survive a kill."""

import itertools
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError, out_of_memory
from vovnet.locks import Claim
from vovnet.outcomes.ahead import build_batch, prepared
from vovnet.outcomes.branches import Group, batch_rows, read_group, read_text, run_groups, text_outcomes
from vovnet.outcomes.convert import branch_table, nll_table, state_table, text_table
from vovnet.outcomes.limits import BatchLimit
from vovnet.outcomes.rows import LookState, ModelOutcomes, TextOutcomes
from vovnet.outcomes.store import OutcomeStore, Span, Table
from vovnet.outcomes.tables import NLL, nll_name, state_name
from vovnet.schema import EvalConfig
from vovnet.terminal import Progress, progress
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.device import threads_of
from vovnet.vlm.protocol import VLM, Batch, Each

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows to compute together, and the branches that miss some of them; ``looks`` are the collector's."""

    span: Span
    branches: tuple[str, ...]
    looks: tuple[Action, ...]

    @property
    def visual(self) -> tuple[Action, ...]:
        """Visual actions among the branches."""
        return tuple(action for action in self.actions if action != Action.NO)

    @property
    def actions(self) -> tuple[Action, ...]:
        """Whose answers, or what is kept beside them, are missing."""
        return tuple(a for a in self.looks if {a.label, nll_name(a.label), state_name(a.label)} & set(self.branches))


@dataclass(frozen=True)
class Claimed:
    """A chunk that this job computes, the lock that keeps others off it, and the rows of its batches once planned."""

    chunk: Chunk
    lock: Claim
    orders: Sequence[Sequence[int]] = ()


@dataclass
class Collection:
    """How many rows were computed per branch; all zero when the store held everything.

    ``fits`` falls to the largest batch that the device's memory has held, once one was too large.
    """

    computed: dict[str, int] = field(default_factory=dict)
    fits: int = sys.maxsize


@dataclass(frozen=True)
class Collector:
    """Computes missing rows of some tables of one split."""

    store: OutcomeStore
    tables: Mapping[str, Table]
    looks: tuple[Action, ...]
    dataset: VQADataset
    options: EvalConfig
    backbone: Callable[[], VLM]
    note: Mapping[str, Any]
    subject: str  # names what is claimed: backbone, data and prompt

    def fill(self, stop: int) -> Collection:
        """Compute whatever rows of [0, stop) are missing, or of this shard of them.

        The backbone is loaded only if there are any.
        """
        collection = Collection(dict.fromkeys(self.tables, 0))
        size = self.options.chunk_rows
        missing = {n: chunk for n in self._dealt(-(-stop // size)) if (chunk := self._missing(n, stop)) is not None}
        if not missing:
            return collection
        numbers, backbone = list(missing), self.backbone()
        self._refuse_beyond(backbone)
        limit = BatchLimit.of(backbone, self.dataset, self.looks, self.options.batch_tokens)
        limit.refuse_alone([row for chunk in missing.values() for row in range(*chunk.span)])
        busy: list[int] = []  # chunks that other jobs hold
        with torch.inference_mode(), progress(f"collecting {self.dataset.name}", len(numbers), "chunks") as bar:
            self._pass(backbone, self._claim(numbers, stop, busy), limit, collection, bar)
            for number in busy:  # one at a time: who holds one claim and waits for another may wait for ever
                self._pass(backbone, self._claim([number], stop, None), limit, collection, bar)
        return collection

    def _refuse_beyond(self, backbone: VLM) -> None:
        """Refuse tables that hold more than the model gives, before it is asked anything.

        Raises:
            VoVNetError: names what it lacks.
        """
        asked = {name.partition(" ")[2] or name for name in self.tables}
        for table, need, what in (
            ("text", "logprobs", "log-probabilities, of which the text pass's entropy and margin are"),
            (NLL, "nll", "NLL of references, which policy/objective=mixture learns from"),
            ("state", "hidden", "hidden states, which a policy that looks again reads"),
        ):
            if table in asked and need not in backbone.capabilities:
                raise VoVNetError(
                    f"this model ({backbone.implementation}) gives no {what}; choose a policy/baseline that does "
                    "without, such as always_full."
                )

    def _pass(
        self, backbone: VLM, claims: Iterator[Claimed], limit: BatchLimit, collection: Collection, bar: Progress
    ) -> None:
        """Compute chunks as they are claimed; workers may claim some ahead."""
        ahead: deque[Claimed] = deque()
        try:
            batches = self._batches(claims, ahead, backbone, limit)
            for first in batches:
                chunk = ahead[0].chunk
                rest = itertools.islice(batches, len(ahead[0].orders) - 1)
                self._compute(backbone, chunk, itertools.chain([first], rest), limit, collection)
                ahead.popleft().lock.release()
                bar.advance(1)
        finally:
            for held in ahead:
                held.lock.release()

    def _dealt(self, chunks: int) -> range:
        """The chunks of this shard: dealt like cards, so that all shards have as much to do."""
        shard = self.options.shard
        return range(chunks) if shard is None else range(shard, chunks, self.options.num_shards)

    def _missing(self, number: int, stop: int) -> Chunk | None:
        """What is missing of a chunk: from its first missing row on, and in which branches."""
        size = self.options.chunk_rows
        span = (number * size, min((number + 1) * size, stop))
        gaps = {name: gap for name, table in self.tables.items() if (gap := table.missing(span))}
        if not gaps:
            return None
        return Chunk((min(gap[0][0] for gap in gaps.values()), span[1]), tuple(gaps), self.looks)

    def _claim(self, numbers: Sequence[int], stop: int, busy: list[int] | None) -> Iterator[Claimed]:
        """Claim chunks one by one; those that other jobs hold go to ``busy``, or are waited for without it.

        A chunk is looked at again once it is claimed: another job may have computed it meanwhile.
        """
        for number in numbers:
            lock = self.store.claim(f"{self.subject}-{self.options.chunk_rows}", number, wait=busy is None)
            if lock is None:
                assert busy is not None
                busy.append(number)
                continue
            chunk = self._missing(number, stop)
            if chunk is None:
                lock.release()
            else:
                yield Claimed(chunk, lock)

    def orders(self, chunk: Chunk, limit: BatchLimit) -> list[list[int]]:
        """Batches of a chunk, questions of like length together, those about one image side by side."""

        def rank(index: int) -> tuple[int, str, int]:
            sample = self.dataset[index]
            return len(sample.question) // 32, sample.group, index

        whole = batch_rows(sorted(range(*chunk.span), key=rank), self.options.batch_size)
        return [part for rows in whole for part in limit.parts(rows)]

    def _batches(
        self, claims: Iterator[Claimed], ahead: deque[Claimed], backbone: VLM, limit: BatchLimit
    ) -> Iterator[Batch]:
        """Prepared batches of claimed chunks in order."""

        def plan() -> Iterator[tuple[Sequence[int], tuple[Action, ...]]]:
            for claimed in claims:
                ahead.append(planned := replace(claimed, orders=self.orders(claimed.chunk, limit)))
                for order in planned.orders:
                    yield order, claimed.chunk.visual

        def build(planned: tuple[Sequence[int], tuple[Action, ...]], each: Each) -> Batch:
            batch = build_batch(self.dataset, backbone.builder, *planned, each)
            return batch.pin_memory() if backbone.device.type == "cuda" else batch

        return prepared(plan(), build, threads_of(self.options.num_workers, backbone.device))

    def _compute(
        self, backbone: VLM, chunk: Chunk, batches: Iterable[Batch], limit: BatchLimit, collection: Collection
    ) -> None:
        """Run a chunk's batches and write one part per branch."""
        decoding = decoding_of(self.options)
        order: list[int] = []
        texts: list[TextOutcomes] = []
        answers: dict[Action, list[ModelOutcomes]] = {a: [] for a in self.looks if a.label in chunk.branches}
        nll: dict[Action, list[np.ndarray]] = {a: [] for a in self.looks if nll_name(a.label) in chunk.branches}
        states: dict[Action, list[LookState]] = {a: [] for a in self.looks if state_name(a.label) in chunk.branches}
        reads_text = "text" in chunk.branches or Action.NO in chunk.actions or backbone.cache_reuse

        def answer(batch: Batch) -> None:
            state = read_text(backbone, batch) if reads_text else None
            said = (
                [text_outcomes(state, batch, backbone.feature_dtype)]
                if state is not None and "text" in chunk.branches
                else []
            )
            prefill = None if state is None else state.prefill
            groups = {a: Group(batch, a, prefill, a in nll, a in states) for a in chunk.actions}
            together = [[*answers]] if backbone.answers_looks_together and answers else [[a] for a in answers]
            found: dict[Action, ModelOutcomes] = {}
            for some in together:
                told = run_groups(backbone, [groups[a] for a in some], decoding, self.options.seed)
                found |= zip(some, told, strict=True)
            beside = {a: vars(found[a]) if a in found else read_group(backbone, groups[a]) for a in chunk.actions}
            order.extend(batch.indices)  # nothing is kept of a batch that did not fit
            texts.extend(said)
            for action, one in found.items():
                answers[action].append(one)
            for action, measured in nll.items():
                measured.append(beside[action]["nll"])
            for action, read in states.items():
                read.append(LookState(*(beside[action][name] for name in ("hidden", "entropy", "margin"))))

        for batch in batches:
            self._in_parts(batch, chunk, backbone, limit, collection, answer)
        rows: dict[str, pa.Table] = {a.label: branch_table(done, order) for a, done in answers.items()}
        rows |= {nll_name(a.label): nll_table(done, order) for a, done in nll.items()}
        rows |= {state_name(a.label): state_table(done, order) for a, done in states.items()}
        if texts:
            rows["text"] = text_table(texts, order)
        for name, table in rows.items():
            self.tables[name].write(chunk.span[0], table, self.note)
            collection.computed[name] += len(table)

    def _in_parts(
        self,
        whole: Batch,
        chunk: Chunk,
        backbone: VLM,
        limit: BatchLimit,
        collection: Collection,
        answer: Callable[[Batch], None],
    ) -> None:
        """Answer a batch, in halves where it is larger than the memory; answers know no batch size.

        Raises:
            VoVNetError: a single question does not fit.
        """
        pending = [whole]
        while pending:
            batch = pending.pop()
            if len(batch) > collection.fits or not limit.holds(batch.indices):  # which was learned meanwhile
                middle = len(batch) // 2
                for rows in (batch.indices[middle:], batch.indices[:middle]):
                    pending.append(build_batch(self.dataset, backbone.builder, rows, chunk.visual))
                continue
            begun = limit.begin()
            try:
                answer(batch)
                limit.learn(batch.indices, begun)
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is of the former
                if not out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise VoVNetError(
                        f"sample {batch.ids[0]} alone does not fit into the device's memory; set "
                        "backbone.dtype=bfloat16, a smaller vision_budget.full.max_pixels, or use a larger device."
                    ) from error
                collection.fits = len(batch) // 2
                log.warning("a batch of %d does not fit into the device's memory; going on with halves", len(batch))
                backbone.free_memory()
                torch.cuda.empty_cache()
                pending.append(batch)
