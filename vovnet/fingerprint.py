"""Content hashes of files, remembered while a file's size and time stay as they are.

Weights and image folders are gigabytes: hashing them in every process would cost more than a warm
evaluation. As git does with its index, a hash is kept beside the file's size, its modification time and the time
of its inode's change, which nobody can set back; a file that was changed within the last seconds, or in the future
of a clock that jumped, is not trusted yet.
"""

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from vovnet.files import refuse_special

log = logging.getLogger(__name__)
State = tuple[int, int, int]  # size, and times of content and status, nanoseconds
SETTLED = 3.0  # seconds after which an unchanged time stamp means unchanged content
HUGE = 1 << 28  # bytes; a file that takes longer to read than a thread to start
SMALL = 1 << 16  # bytes; smaller files are hashed faster than looked up


def fingerprint_files(paths: Iterable[Path], meanwhile: Callable[[], object] | None = None) -> str:
    """SHA-256 over names and contents of files, in order of their paths.

    Args:
        meanwhile: called while gigabytes are read, which another thread does.
    """
    ordered = sorted(paths, key=lambda path: path.parts)  # as paths compare, but fast
    hashes = file_hashes(ordered, meanwhile)
    digest = hashlib.sha256()
    for path in ordered:
        digest.update(f"{path.name} {hashes[path]}\n".encode())
    return digest.hexdigest()


def file_hashes(paths: Iterable[Path], meanwhile: Callable[[], object] | None = None) -> dict[Path, str]:
    """SHA-256 of each file's content; large files are read side by side.

    Raises:
        OSError: one is missing, cannot be read or is no file.
    """
    stats = {path: path.stat() for path in paths}
    for path, stat in stats.items():
        refuse_special(path, stat)
    large = {str(path.resolve()): path for path, stat in stats.items() if stat.st_size > SMALL}
    known = _recall({place: file_state(stats[path]) for place, path in large.items()}) if large else {}
    fresh: dict[str, tuple[int, int, int, str]] = {}
    found: dict[Path, str] = {}
    made = _side_by_side([p for place, p in large.items() if place not in known and stats[p].st_size > HUGE], meanwhile)
    for path, stat in stats.items():
        place = str(path.resolve()) if stat.st_size > SMALL else ""
        if place in known:
            found[path] = known[place]
            continue
        found[path] = made[path] if path in made else _hash(path, stat.st_size)
        if place and time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED:
            fresh[place] = (*file_state(stat), found[path])
    if fresh:
        _remember(fresh)
    return found


def failed_checksum(paths: Iterable[Path], is_sound: Callable[[Path], bool]) -> list[Path]:
    """Files that are not sound; large ones are asked about once in each state that they are in.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    stats = {str(path.absolute()): (path, path.stat()) for path in paths}
    large = {place: file_state(stat) for place, (_, stat) in stats.items() if stat.st_size > SMALL}
    known = _recall(large) if large else {}
    wrong: list[Path] = []
    fresh: dict[str, tuple[int, int, int, str]] = {}
    for place, (path, stat) in stats.items():
        if known.get(place) == SOUND and time.time() - stat.st_ctime > SETTLED:
            continue
        if not is_sound(path):
            wrong.append(path)
        elif place in large and time.time() - stat.st_ctime > SETTLED:
            fresh[place] = (*large[place], SOUND)
    if fresh:
        _remember(fresh)
    return wrong


SOUND = "sound"  # in the place of a hash


def file_state(stat: os.stat_result) -> State:
    """What cannot stay the same when a file is written."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _hash(path: Path, size: int) -> str:
    """SHA-256 of a file; a blob of the hub's cache is read too, since its name says what it was before any edit."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (many small images: pathlib takes twice as long)
        if size <= SMALL:
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def _side_by_side(paths: list[Path], meanwhile: Callable[[], object] | None) -> dict[Path, str]:
    """Hashes of files that each take seconds; hashing leaves Python's lock alone."""
    if not paths:
        return {}
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda path: _hash(path, path.stat().st_size), paths)
        if meanwhile is not None:
            meanwhile()
        return dict(zip(paths, hashes, strict=True))


def _recall(states: Mapping[str, State]) -> dict[str, str]:
    """What is remembered of those files that are in the state in which they were."""
    try:
        with closing(_database()) as database:
            rows = {place: database.execute(SELECT, (place,)).fetchone() for place in states}
    except CANNOT_REMEMBER as error:  # a read-only home: hash again, and say so
        log.info("hashes of files cannot be remembered (%s)", error)
        return {}
    same = {p: row for p, row in rows.items() if row and row[:3] == states[p]}
    return {place: row[3] for place, row in same.items()}


def _remember(hashes: dict[str, tuple[int, int, int, str]]) -> None:
    try:
        with closing(_database()) as database, database:
            database.executemany(INSERT, [(place, *row) for place, row in hashes.items()])
    except CANNOT_REMEMBER as error:
        log.info("hashes of files cannot be remembered (%s)", error)


def recall_text(name: str) -> str | None:
    """What was remembered under a name that says all it depends on."""
    return _recall({name: NO_FILE}).get(name)


def remember_text(name: str, text: str) -> None:
    """Remember something under a name that says all it depends on."""
    _remember({name: (*NO_FILE, text)})


NO_FILE: State = (0, 0, 0)
CANNOT_REMEMBER = (sqlite3.Error, OSError, RuntimeError)  # the last: this user has no home
CREATE = (
    "CREATE TABLE IF NOT EXISTS hashes "
    "(path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, hash TEXT)"
)
SELECT = "SELECT size, modified, changed, hash FROM hashes WHERE path = ?"
INSERT = "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?)"


def _database() -> sqlite3.Connection:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vovnet"
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / "hashes.sqlite", timeout=30)
    database.execute(CREATE)
    return database


def digest(value: Any, length: int = 16) -> str:
    """The first hex digits of SHA-256 over a value as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
