"""Filling the store: each missing branch once per sample, in chunks that survive a kill."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from torch.utils.data import DataLoader, Dataset

from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.backbone.backbone import Backbone
from vovnet.backbone.decoding import decoding_of
from vovnet.backbone.inputs import Batch, InputBuilder
from vovnet.data import VQADataset, prompt_text
from vovnet.outcomes.branches import batch_rows, make_judge, read_text, run_branch, text_outcomes
from vovnet.outcomes.convert import branch_table, text_table
from vovnet.outcomes.rows import BranchOutcomes, TextOutcomes
from vovnet.outcomes.store import OutcomeStore, Span, Table
from vovnet.progress import Progress, progress
from vovnet.schema import EvalConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows to compute together, and the branches that miss some of them."""

    span: Span
    branches: tuple[str, ...]

    @property
    def visual(self) -> tuple[Action, ...]:
        """Visual actions among the branches."""
        return tuple(action for action in VISUAL_ACTIONS if action.label in self.branches)


@dataclass
class Collection:
    """How many rows were computed per branch; all zero when the store held everything."""

    computed: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Computed rows over all branches."""
        return sum(self.computed.values())


@dataclass(frozen=True)
class Collector:
    """Computes missing rows of some tables of one split."""

    store: OutcomeStore
    tables: Mapping[str, Table]
    dataset: VQADataset
    options: EvalConfig
    backbone: Callable[[], Backbone]
    note: Mapping[str, Any]

    def fill(self, stop: int) -> Collection:
        """Compute whatever rows of [0, stop) are missing. The backbone is loaded only if there are any."""
        collection = Collection(dict.fromkeys(self.tables, 0))
        chunks = self._plan(stop)
        if not chunks:
            return collection
        backbone = self.backbone()
        total = sum(chunk.span[1] - chunk.span[0] for chunk in chunks)
        label = f"collecting {self.dataset.name}/{self.dataset.split} ({', '.join(chunks[0].branches)})"
        with torch.inference_mode(), progress(label, total, "samples") as bar:
            batches = self._batches(chunks, backbone.builder)
            for chunk in chunks:
                count = len(self._orders(chunk))
                with self.store.claim(self.tables["text"].key.id.removeprefix("text-"), chunk.span):
                    # Another job may have computed this chunk while we waited for the claim.
                    missing = tuple(b for b in chunk.branches if self.tables[b].missing(chunk.span))
                    parts = (next(batches) for _ in range(count))
                    self._compute(backbone, Chunk(chunk.span, missing), parts, collection, bar)
        return collection

    def _plan(self, stop: int) -> list[Chunk]:
        """Chunks aligned to multiples of ``chunk_rows``, so that concurrent jobs plan alike."""
        size = self.options.chunk_rows
        chunks = []
        for start in range(0, stop, size):
            span = (start, min(start + size, stop))
            gaps = {name: table.missing(span) for name, table in self.tables.items()}
            branches = tuple(name for name, gap in gaps.items() if gap)
            if branches:
                first = min(gap[0][0] for gap in gaps.values() if gap)
                chunks.append(Chunk((first, span[1]), branches))
        return chunks

    def _orders(self, chunk: Chunk) -> list[list[int]]:
        """Batches of a chunk, questions of like length together, those about one image side by side."""

        def rank(index: int) -> tuple[int, str, int]:
            sample = self.dataset[index]
            return len(sample.question) // 32, sample.group, index

        return list(batch_rows(sorted(range(*chunk.span), key=rank), self.options.batch_size))

    def _batches(self, chunks: Sequence[Chunk], builder: InputBuilder) -> Iterator[Batch]:
        """Prepared batches of all chunks in order; decoded and cut in workers ahead of the model."""
        plan = [(order, chunk.visual) for chunk in chunks for order in self._orders(chunk)]
        loader = DataLoader(
            PreparedBatches(self.dataset, builder, plan),
            batch_size=None,
            num_workers=self.options.num_workers,
            collate_fn=_unchanged,
        )
        return iter(loader)

    def _compute(
        self, backbone: Backbone, chunk: Chunk, parts: Iterable[Batch], collection: Collection, bar: Progress
    ) -> None:
        """Run a chunk's batches and write one part per branch."""
        order: list[int] = []
        judge, decoding = make_judge(self.dataset), decoding_of(self.options)
        texts: list[TextOutcomes] = []
        answers: dict[Action, list[BranchOutcomes]] = {a: [] for a in Action if a.label in chunk.branches}
        for batch in parts:  # also taken off the loader, unused, where nothing is missing any more
            order += batch.indices
            if chunk.branches:
                state = read_text(backbone, batch)
                texts.append(text_outcomes(state, batch, backbone.feature_dtype))
                for action, done in answers.items():
                    done.append(
                        run_branch(backbone, batch, action, state, decoding, judge, self.options.seed, with_nll=True)
                    )
            bar.advance(len(batch))
        rows: dict[str, pa.Table] = {a.label: branch_table(done, order) for a, done in answers.items()}
        if "text" in chunk.branches:
            rows["text"] = text_table(texts, order)
        for name, table in rows.items():
            self.tables[name].write(chunk.span[0], table, self.note)
            collection.computed[name] += len(table)


@dataclass(frozen=True)
class PreparedBatches(Dataset[Batch]):
    """Batches by number; picklable, so that worker processes can prepare them."""

    dataset: VQADataset
    builder: InputBuilder
    plan: Sequence[tuple[list[int], tuple[Action, ...]]]

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        order, actions = self.plan[number]
        items = [(i, self.dataset[i], prompt_text(self.dataset, self.dataset[i])) for i in order]
        return self.builder.build(items, actions)


def _unchanged(batch: Any) -> Any:
    return batch
