"""Questions that come in one by one and are answered together, in one thread."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from vovnet.errors import VoVNetError, out_of_memory

log = logging.getLogger(__name__)
PATIENCE = 0.01  # seconds to wait for as many questions as came together last time
Asked = TypeVar("Asked")
Told = TypeVar("Told")


class FullError(Exception):
    """As many questions wait as may."""


class Batches(Generic[Asked, Told]):
    """Answers whatever waits whenever the thread is free; a lone question waits for nobody.

    An error is given to the question that causes it: a batch that fails is answered in halves.

    Args:
        answer: gives the answers of some questions, in order.
        size: questions of a batch at most, each taken for as heavy as the heaviest, since all are padded to it.
        waiting: questions that may wait.
        weight: of a question; 1 is usual.
        alike: questions are answered together where this is equal.
        free_memory: called after memory ran out.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Asked]], Sequence[Told]],
        size: int,
        waiting: int,
        weight: Callable[[Asked], int],
        alike: Callable[[Asked], object],
        free_memory: Callable[[], None],
    ) -> None:
        self._answer, self._size, self._most = answer, size, waiting
        self._weight, self._alike, self._free = weight, alike, free_memory
        self._queue: deque[tuple[Asked, Future[Told]]] = deque()
        self._changed, self._closed, self._last = threading.Condition(), False, 1
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)
        self._thread.start()

    def submit(self, asked: Asked) -> "Future[Told]":
        """Let a question wait for its answer; a future that is cancelled before it has its turn costs nothing.

        Raises:
            FullError: too many wait.
        """
        future: Future[Told] = Future()
        with self._changed:
            if len(self._queue) >= self._most:
                raise FullError
            self._queue.append((asked, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Cancel what waits, and end the thread after the batch that it answers."""
        with self._changed:
            self._closed = True
            while self._queue:
                self._queue.popleft()[1].cancel()
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._last = len(batch)
            self._settle(batch)

    def _next(self) -> list[tuple[Asked, "Future[Told]"]]:
        """The next batch; empty once closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                # Under load the askers of the last batch ask again at once: one that comes first waits for the others.
                self._changed.wait_for(
                    lambda: len(self._queue) >= min(self._last, self._size) or self._closed, timeout=PATIENCE
                )
                if self._closed:
                    return []
                taken = self._fitting()
            if batch := [pair for pair in taken if pair[1].set_running_or_notify_cancel()]:
                return batch

    def _fitting(self) -> list[tuple[Asked, "Future[Told]"]]:
        """Take the first question out of the queue, and those that fit into a batch with it."""
        kind, heaviest = self._alike(self._queue[0][0]), 0
        taken, left = list[tuple[Asked, Future[Told]]](), list[tuple[Asked, Future[Told]]]()
        for asked, future in self._queue:
            weight = max(heaviest, self._weight(asked))
            fits = not taken or (self._alike(asked) == kind and (len(taken) + 1) * weight <= self._size)
            heaviest = weight if fits else heaviest
            (taken if fits else left).append((asked, future))
        self._queue = deque(left)
        return taken

    def _settle(self, batch: list[tuple[Asked, "Future[Told]"]]) -> None:
        try:
            answers = self._answer([asked for asked, _ in batch])
        except Exception as error:  # of any kind: it is its asker's, and the thread goes on
            if out_of_memory(error):
                self._free()
            if len(batch) > 1:
                middle = len(batch) // 2
                self._settle(batch[:middle])
                self._settle(batch[middle:])
                return
            if not isinstance(error, VoVNetError):
                log.exception("a question could not be answered")
            batch[0][1].set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)
