"""What the jobs of one sweep share: each costly thing is made once and dropped with the session."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Session:
    """Keeps what was made for one job for the next ones: a checkpoint, a data set, outcomes, a policy's head.

    A sweep owns one, or the caller of the Python interface. Nothing is kept for the whole process, so a new session
    sees files that have changed.

    Attributes:
        jobs: the configurations (``RunConfig``) of the sweep's jobs that may be run.
    """

    def __init__(self) -> None:
        self.jobs: Sequence[Any] = ()
        self._kept: dict[str, OrderedDict[Hashable, Any]] = {}

    def once(self, kind: str, key: Hashable, make: Callable[[], T], keep: int = 1) -> T:
        """What ``make`` returns, made once for each key.

        Args:
            kind: of thing, such as ``backbone``.
            key: all that determines it.
            keep: how many of this kind are kept; the one asked for least recently is dropped before another is made,
                since two may not fit into memory.
        """
        kept = self._kept.setdefault(kind, OrderedDict())
        if key in kept:
            kept.move_to_end(key)
            return kept[key]  # type: ignore[no-any-return]
        while len(kept) >= keep:
            kept.popitem(last=False)
        made = make()
        kept[key] = made
        return made
