"""Batches that are prepared while the model works on earlier ones.

Threads, not processes: what takes long in an image, decoding and resizing, runs outside of Python's lock, so that
nothing has to be copied between processes or fit into /dev/shm.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from vovnet.vlm.protocol import Each

AHEAD = 2  # batches that are prepared or being prepared; a batch of 64 images of 768 tokens is 0.16 GB
T = TypeVar("T")
Batch = TypeVar("Batch")


def prepared(plan: Iterable[T], build: Callable[[T, Each], Batch], threads: int) -> Iterator[Batch]:
    """What ``build`` makes of each part of a plan, in order.

    Args:
        plan: read in this thread, ``AHEAD`` parts early.
        build: makes a part, and its images by the function that it is given.
        threads: prepare images at once; 0 makes a part when it is asked for.
    """
    if not threads:
        for part in plan:
            yield build(part, map)
        return
    # One thread goes from part to part, so that the first one is ready soonest; the others share its images.
    order, images = ThreadPoolExecutor(1, "batches"), ThreadPoolExecutor(threads, "images")
    try:
        waiting: deque[Future[Any]] = deque()
        for part in plan:
            waiting.append(order.submit(build, part, images.map))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        images.shutdown(cancel_futures=True)
        order.shutdown(cancel_futures=True)
