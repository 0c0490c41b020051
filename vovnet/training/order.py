"""Which questions each step takes: a function of seed and step, so that a resumed or divided training is the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from vovnet.outcomes.ahead import prepared

NOISE_STREAM = 1  # beside the stream that shuffles


class StepSource(Protocol):
    """Batches by their number."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> Any: ...


@dataclass(frozen=True, eq=False)
class StepOrder:
    """Shuffled epochs, cut into optimiser steps.

    Attributes:
        rows: what an epoch consists of.
        batch_size: rows of a step, all devices together.
        keep_rest: an epoch's last step takes what is left; else those rows wait for another epoch.
    """

    rows: np.ndarray
    batch_size: int
    seed: int
    keep_rest: bool

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole + int(self.keep_rest and rest > 0)

    def step(self, number: int) -> np.ndarray:
        """Rows of one optimiser step."""
        epoch, place = divmod(number, self.steps_per_epoch)
        begin = place * self.batch_size
        return self._shuffled(epoch)[begin : begin + self.batch_size]

    def gumbel(self, number: int, actions: int) -> np.ndarray:
        """Standard Gumbel noise of a step, float32 [its rows, A]; the same however the rows are divided."""
        rng = np.random.default_rng([self.seed, NOISE_STREAM, number])
        return rng.gumbel(size=(len(self.step(number)), actions)).astype(np.float32)

    @lru_cache(maxsize=2)  # noqa: B019  (an order lives as long as its training)
    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 0, epoch]).permutation(self.rows)


def even_parts(rows: np.ndarray, batch_size: int, rank: int, ranks: int) -> list[np.ndarray]:
    """A rank's share of rows that are to be looked at once each: as many batches on every rank, no row twice.

    Batches hold at most ``batch_size`` rows and differ by one at most; some are empty where there are fewer rows
    than ranks.
    """
    batches = -(-len(rows) // (batch_size * ranks)) * ranks
    return np.array_split(rows, batches)[rank::ranks]


class StepLoader:
    """Batches of a source whose batch is a function of the step; Lightning stores and restores its position.

    Args:
        source: has a length and gives the batch of a step by ``source[step]``.
        ahead: a thread makes batches while earlier steps are taken.
        workers: processes that do so, for sources that draw what they yield.
    """

    def __init__(self, source: StepSource, ahead: bool = False, workers: int = 0) -> None:
        self.source, self.ahead, self.workers = source, ahead, workers
        self.position = 0

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        """Batches from the current position on."""
        left = range(self.position, len(self))
        made = prepared(left, lambda step, _: self.source[step], int(self.ahead))
        for batch in self._by_processes() if self.workers else made:
            self.position += 1
            yield batch

    def _by_processes(self) -> DataLoader[Any]:
        # Many small tensors a batch: handed over as files, else as open descriptors, of which there are few.
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
        return DataLoader(
            self.source,  # type: ignore[arg-type]
            batch_size=None,
            sampler=range(self.position, len(self)),
            num_workers=self.workers,
            collate_fn=as_it_is,
        )

    def state_dict(self) -> dict[str, int]:
        """How many batches have been handed out."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after that many."""
        self.position = int(state["position"])


@dataclass(frozen=True)
class EachOnce:
    """Validation batches in order, as a loader: Lightning takes a plain list for several loaders."""

    batches: Sequence[Any] | StepSource

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return (self.batches[number] for number in range(len(self)))


def as_it_is(batch: Any) -> Any:
    """No collation: batches are made whole."""
    return batch
