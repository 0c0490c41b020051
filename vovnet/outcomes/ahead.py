"""Batches of a data set's rows, prepared while the model works on earlier ones.

Threads, not processes: what takes long in an image, decoding and resizing, runs outside of Python's lock, so that
nothing has to be copied between processes or fit into /dev/shm.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from vovnet.actions import Action
from vovnet.data import VQADataset, item
from vovnet.vlm.protocol import Batch, Builder, Each

AHEAD = 2  # batches that are prepared or being prepared; a batch of 64 images of 768 tokens is 0.16 GB
T = TypeVar("T")
Made = TypeVar("Made")


class Preparing:
    """Threads that prepare images; without any, a batch is made when it is asked for.

    One thread goes from batch to batch, so that the first one is ready soonest; the others share its images.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._batches = ThreadPoolExecutor(1, "batches")  # starts no thread before it has work
        self._images = ThreadPoolExecutor(max(1, threads), "images")

    def submit(self, build: Callable[[Each], Made]) -> Callable[[], Made]:
        """Begin to make a batch by a function that is given what applies another to every image; returns its result's
        getter, which raises what ``build`` has raised."""
        if not self.threads:
            return partial(build, map)
        return self._batches.submit(build, self._images.map).result

    def close(self) -> None:
        """Drop what has not begun, and wait for the rest."""
        self._images.shutdown(cancel_futures=True)
        self._batches.shutdown(cancel_futures=True)


def prepared(plan: Iterable[T], build: Callable[[T, Each], Made], threads: int) -> Iterator[Made]:
    """What ``build`` makes of each part of a plan, in order.

    Args:
        plan: read in this thread, ``AHEAD`` parts early where there are threads.
        threads: prepare images at once.
    """
    preparing, waiting = Preparing(threads), deque[Callable[[], Made]]()
    try:
        for part in plan:
            waiting.append(preparing.submit(partial(build, part)))
            if len(waiting) > (AHEAD if threads else 0):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
    finally:
        preparing.close()


def build_batch(
    dataset: VQADataset, builder: Builder, rows: Sequence[int], actions: Sequence[Action], each: Each = map
) -> Batch:
    """A batch of some rows, with the images of some actions."""
    return builder.build([item(dataset, row) for row in rows], actions, each=each)
