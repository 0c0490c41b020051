"""Files, written so that a reader sees the old content or the new and never half of one.

Results are written by ``write_text`` and what builds on it, and so by the main rank of a job only: every rank
comes to the same. What ranks share the work of, like the outcome store, is written by ``atomic_write``.
"""

import errno
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from vovnet.errors import VoVNetError
from vovnet.locks import Claim, lock
from vovnet.ranks import is_main_rank

MAX_JSON = 2**28  # bytes of a JSON object; those of this project have a few megabytes
MAX_DEPTH = 64  # of its nesting
SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{8}\.tmp$")


class SpecialFileError(VoVNetError, OSError):
    """A named pipe, a socket or a device in a file's place."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be read ({self.strerror}); put a file in its place."


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, then rename it.

    On any error the temporary file is removed and what stood at ``path`` stays. A process that is killed leaves its
    temporary file; the next one that writes into the folder removes it.

    Raises:
        OSError: with ``path`` as its file name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with _locked(temporary):
                write(temporary)
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        error.filename = str(path)
        raise


def _locked(temporary: Path) -> IO[bytes]:
    """A new file under a lock, which tells the living writers from the dead."""
    while True:
        file = temporary.open("wb")
        lock(file.fileno(), wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # removed by another process before it was locked


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes: those that nobody has locked."""
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if TEMPORARY.match(entry.name)]
    for path in found:
        try:
            with path.open("rb+") as file:
                if lock(file.fileno(), wait=False):
                    path.unlink(missing_ok=True)
        except (FileNotFoundError, PermissionError):  # its writer was faster, or it is another user's to remove
            continue


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    atomic_write(path, lambda temporary: temporary.write_bytes(content))


def whole_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write a folder under another name, then put it in place of ``folder``; one process at a time.

    A process that is killed leaves the old folder or the new one, and beside it what the next one removes.
    """
    partial, before = (folder.with_name(f".{folder.name}.{state}.partial") for state in ("new", "old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Claim(folder.with_name(f".{folder.name}.partial.lock")):
            try:
                _settle(folder, before)
                _remove(partial)
                fill(partial)
                os.sync()  # what is renamed is on the disk, however many files it is
                if folder.exists():
                    folder.rename(before)
                partial.rename(folder)
            finally:
                _remove(partial)
                _settle(folder, before)
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise


def _settle(folder: Path, before: Path) -> None:
    """After a writer that has ended, however it ended: the new folder where it is in place, else the old one."""
    if folder.exists():
        _remove(before)
    elif before.exists():
        before.rename(folder)


def refuse_foreign(folder: Path, stamp: str, key: str) -> None:
    """Refuse to put a folder of ours in place of one that is not.

    Args:
        stamp: the file that tells ours.

    Raises:
        VoVNetError: something else lies there.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / stamp).is_file() or not any(folder.iterdir()))):
        raise VoVNetError(f"{key}={folder} holds something else, which would be removed; name a new folder.")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; ranks other than the main one write nothing."""
    write_parts(path, [text])


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write a long text piece by piece, as ``write_text`` does."""

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(parts)

    if is_main_rank():
        atomic_write(path, fill)


def open_file(path: Path) -> IO[bytes]:
    """Open for reading what a person or another file has named.

    Raises:
        OSError: missing, or a folder. SpecialFileError: a named pipe, a socket or a device.
    """
    refuse_special(path, path.stat())
    return path.open("rb")


def refuse_special(path: Path, found: os.stat_result) -> None:
    """Refuse named pipes, sockets and devices: to open a pipe waits for its writer, and a device may never end.

    Args:
        found: what ``stat`` says of ``path``.

    Raises:
        SpecialFileError: it is a named pipe, a socket or a device.
    """
    if (kind := SPECIAL.get(stat.S_IFMT(found.st_mode))) is not None:
        raise SpecialFileError(errno.EINVAL, f"it is {kind} and no file", str(path))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds none.
    """
    with open_file(path) as file:
        content = file.read(MAX_JSON + 1)
    if len(content) > MAX_JSON:
        raise ValueError(f"it is larger than {MAX_JSON >> 20} MB")
    return parse_object(content.decode("utf-8"))


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object that comes from a file; nested no deeper than what walks through it can go.

    Raises:
        ValueError: it is none.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return content
    raise ValueError("it is nested too deeply")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since no JSON reader must accept them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
