"""How the ranks of one command fail together: with one sentence, which the main rank prints and records.

A rank that fails leaves its error in the job's folder. The main rank may wait for it in a collective operation that
never ends; so a thread looks for such a file, and ends the command. Whoever started the ranks then ends the others.
"""

import json
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_bytes
from vovnet.ranks import rank

RANK_FILE = "rank-{}.json"  # left by a rank other than the main one, and only if it fails
LOOK_EVERY = 0.5  # seconds
ALIKE = 2.0  # seconds that the main rank gets to fail alike, as ranks do that are given the same wrong key


def leave_error(folder: Path, error: Exception) -> None:
    """Leave this rank's error for the main rank; a defect of this program with its traceback."""
    if isinstance(error, VoVNetError):
        left = {"error": str(error)}
    else:
        left = {"error": f"{type(error).__name__}: {error}", "traceback": "".join(traceback.format_exception(error))}
    write_bytes(folder / RANK_FILE.format(rank()), json.dumps(left).encode())


def left_error(folder: Path) -> dict[str, str] | None:
    """The error that a rank has left, with the name of that rank; the first by name if there are several."""
    for path in sorted(folder.glob(RANK_FILE.format("*"))):
        try:
            left = read_object(path)
            return left | {"error": f"{left['error']} ({path.stem})"}
        except FileNotFoundError:  # cleared away meanwhile
            continue
        except (OSError, ValueError, LookupError):
            return {"error": f"{path.stem} failed (its error cannot be read)"}
    return None


def clear_errors(folder: Path) -> None:
    """Remove what ranks of an earlier try left."""
    for path in folder.glob(RANK_FILE.format("*")):
        path.unlink(missing_ok=True)


class RankWatch:
    """While it is entered, ``end`` is called with the error that another rank leaves. It must end this process."""

    def __init__(self, folder: Path, end: Callable[[dict[str, str]], object]) -> None:
        self.folder, self.end = folder, end
        self._over, self._one_of_us = threading.Event(), threading.Lock()

    def __enter__(self) -> Self:
        clear_errors(self.folder)
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._one_of_us:  # not released where the thread is about to end this process
            self._over.set()
        clear_errors(self.folder)

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            if (left := left_error(self.folder)) is not None and not self._over.wait(ALIKE):
                with self._one_of_us:
                    if not self._over.is_set():
                        self.end(left)
