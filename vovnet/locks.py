"""Locks between processes, on files: the OS releases a lock when its holder exits.

They spare work and are no condition of being right. Some network file systems have none; that is said once.
"""

import errno
import fcntl
import logging
import os
from pathlib import Path
from types import TracebackType

log = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what file systems say that have none
_said: set[Path] = set()  # folders whose lack of locks was reported


def lock(descriptor: int, wait: bool) -> bool | None:
    """Lock an open file: True when it is ours, False when another has it, None where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


class Claim:
    """A lock on a file of its own, which stays behind empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, wait: bool = True) -> bool:
        """Take it; False if another has it and this does not wait. Without locks everybody takes everything.

        It stays taken if it was.

        Raises:
            OSError: the file cannot be made.
        """
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        taken = False
        try:
            got = lock(descriptor, wait)
            taken = got is not False
        finally:
            if not taken:
                os.close(descriptor)
        if got is None and self.path.parent not in _said:
            _said.add(self.path.parent)
            log.warning("no file locks in %s: jobs that run at once may do the same work twice", self.path.parent)
        if taken:
            self._descriptor = descriptor
        return taken

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone leaves it to processes that were forked meanwhile
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        finally:
            os.close(descriptor)

    def __enter__(self) -> "Claim":
        self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
