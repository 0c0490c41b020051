"""Prepared images that are used again: an image has several questions."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """What was used last, up to ``limit`` bytes. Several threads may share it; a copy in another process is empty."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """What is held under a key, which becomes the youngest; None where nothing is."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, value: T, size: int) -> None:
        """Hold a value of some bytes, and let the oldest go."""
        with self._lock:
            if key not in self._held:
                self._held[key] = (value, size)
                self._bytes += size
            self._held.move_to_end(key)
            while self._bytes > self.limit:
                _, (_, gone) = self._held.popitem(last=False)
                self._bytes -= gone

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def __getstate__(self) -> dict[str, int]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["limit"])  # type: ignore[misc]
