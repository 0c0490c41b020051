"""What a disturbed process does: a command as a user types it, with streams and faults of its own."""

import fcntl
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.commands import become, run_main


class Fault(Protocol):
    """Something wrong with the process or its machine."""

    def arm(self) -> None:
        """Bring it about in this process."""


@dataclass(frozen=True)
class NoLocks:
    """A file system without file locks, as network mounts without a lock daemon are."""

    number: int  # what flock says: ENOSYS, ENOLCK or EOPNOTSUPP

    def arm(self) -> None:
        """Every lock is refused."""

        def refuse(*args: Any) -> None:
            raise OSError(self.number, os.strerror(self.number))

        fcntl.flock = refuse


@dataclass(frozen=True)
class Strike:
    """Kills the process at an exact place: before the n-th call of a function of ``os``, counted from 1."""

    function: str
    number: int

    def arm(self) -> None:
        """Put the trap in place."""
        setattr(os, self.function, self._deadly(getattr(os, self.function)))

    def _deadly(self, real: Callable[..., Any]) -> Callable[..., Any]:
        calls = iter(range(1, self.number))

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call


def command(entry: str, arguments: Sequence[str], log: Path, draws: bool, fault: Fault | None) -> None:
    """Run ``experiments.ENTRY`` until it exits.

    Args:
        log: takes what it prints.
        draws: without it figures are written as one word; drawing them takes longer than all the rest.
    """
    log.unlink(missing_ok=True)
    become(entry, arguments, log, log)
    if not draws:
        from matplotlib.figure import Figure

        Figure.savefig = lambda self, place, **kwargs: Path(place).write_text("a figure")  # type: ignore[method-assign]
    if fault is not None:
        fault.arm()
    run_main(entry)
