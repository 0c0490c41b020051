"""The outcome store: finished rows on disk, shared by every job.

A *table* holds what the model did in one look at one split, under one backbone, prompt, budget and decoding. Its folder
is named by a hash of exactly those; change any of them and another table is used. Scores of its answers are tables
inside that folder, one for each scorer. A table grows by *parts*: immutable Arrow files of consecutive rows,
memory-mapped when read. A part appears by one rename, so a reader sees whole parts only, and a killed writer loses at
most the part it was on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vovnet.errors import VoVNetError
from vovnet.files import atomic_write, read_object, write_bytes
from vovnet.fingerprint import failed_checksum
from vovnet.locks import Claim
from vovnet.outcomes.convert import values
from vovnet.outcomes.rows import FileRows

log = logging.getLogger(__name__)

# Rises when the layout of parts changes; older tables are then left alone.
# 2: scores are tables of their own, inside the folder of the answers that they judge; optional columns; any look.
FORMAT = 2
TEXT = "text"  # the table of text passes; the others are named after their looks
NAME = re.compile(r"[a-z0-9_]+")  # of a table
TABLE = b"vovnet.table"  # in a part's metadata: which table it is of
CLAIMS = "claims"  # folder of a store's locks
TABLE_FILE = "table.json"  # a table's key in the clear
PART = re.compile(r"^(\d{9})-(\d{9})-([0-9a-f]{8})\.arrow$")  # first row, row after the last, CRC-32 of the file
Span = tuple[int, int]  # rows [start, stop)


@dataclass(frozen=True)
class TableKey:
    """All that determines the rows of a table.

    Attributes:
        branch: ``text``, or the name of a look, such as ``full``; ``scores`` inside another table.
        facts: JSON-able description, written beside the rows in the clear.
    """

    branch: str
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.branch):
            raise ValueError(f"{self.branch!r} cannot be the name of a folder")

    @property
    def id(self) -> str:
        """Folder name: the branch and 64 bits of SHA-256 over the facts."""
        text = json.dumps([FORMAT, self.branch, self.facts], sort_keys=True, ensure_ascii=True, allow_nan=False)
        return f"{self.branch}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class _Piece:
    """Rows of a part, and where in memory its file is mapped."""

    path: Path
    rows: pa.Table
    address: int


@dataclass(frozen=True)
class Rows:
    """Rows of a table in its mapped parts."""

    pieces: Sequence[_Piece]

    @property
    def table(self) -> pa.Table:
        """All rows; an optional column that a part lacks is left out."""
        tables = [piece.rows for piece in self.pieces]
        common = [name for name in tables[0].column_names if all(name in one.column_names for one in tables)]
        return pa.concat_tables([one.select(common) for one in tables])

    @property
    def checksums(self) -> np.ndarray:
        """Of the part that each row comes from, uint32 [N]."""
        sums = [int(piece.path.stem.rpartition("-")[2], 16) for piece in self.pieces]
        return np.repeat(np.array(sums, dtype=np.uint32), [len(piece.rows) for piece in self.pieces])

    def set_aside(self, row: int, reason: str) -> DamagedPart:
        """Rename the part that holds a row, so that its rows count as missing."""
        ends = np.cumsum([len(piece.rows) for piece in self.pieces])
        return _set_aside(self.pieces[int(np.searchsorted(ends, row, side="right"))].path, reason)

    def matrix(self, column: str) -> list[FileRows]:
        """Where the rows of a column of fixed-size lists lie; none is read into memory. Empty where a part lacks it."""
        if any(column not in piece.rows.column_names for piece in self.pieces):
            return []
        found = []
        for piece in self.pieces:
            for chunk in piece.rows[column].chunks:
                rows = values(chunk)
                found.append(FileRows(piece.path, rows.ctypes.data - piece.address, rows.shape, rows.dtype))
        return found


class DamagedPart(VoVNetError):  # noqa: N818  (a thing that is handled, not only reported)
    """A part is damaged and was set aside, or has gone; its rows now count as missing.

    Attributes:
        rows: the part's rows and table, whatever its checksum.
    """

    def __init__(self, path: Path, sentence: str) -> None:
        super().__init__(sentence)
        self.rows = str(path).rpartition("-")[0]


class Table:
    """One branch's rows; safe for any number of readers and writers at once."""

    def __init__(self, root: Path, key: TableKey) -> None:
        self.key = key
        self.folder = root / key.id

    def parts(self) -> list[tuple[Span, Path]]:
        """Finished parts in order of their first row."""
        if not self.folder.is_dir():
            return []
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if (match := PART.match(entry.name)) and entry.is_file():  # not a link to what is no longer there
                    found.append(((int(match[1]), int(match[2])), Path(entry.path)))
        return sorted(found)

    def missing(self, span: Span) -> list[Span]:
        """The parts of a span that no file holds yet."""
        gaps, cursor = [], span[0]
        for (start, stop), _ in self.parts():
            if start >= span[1]:
                break
            if start > cursor:
                gaps.append((cursor, start))
            cursor = max(cursor, stop)
        if cursor < span[1]:
            gaps.append((cursor, span[1]))
        return gaps

    def write(self, start: int, rows: pa.Table, note: Mapping[str, Any]) -> None:
        """Add consecutive rows; ``note`` (versions, device) is stored with the key for debugging.

        Two writers of the same rows do no harm: the outcomes are the same, and a reader takes each row once.
        """
        describe = self.folder / TABLE_FILE
        content = _arrow_bytes(rows.replace_schema_metadata({TABLE: self.key.id}))
        path = self.folder / f"{start:09d}-{start + len(rows):09d}-{zlib.crc32(content):08x}.arrow"
        try:
            if not describe.exists():
                facts = {"format": FORMAT, "branch": self.key.branch, "facts": self.key.facts, "note": note}
                atomic_write(describe, lambda temporary: temporary.write_text(json.dumps(facts, indent=2) + "\n"))
            write_bytes(path, content)
        except OSError as error:
            raise VoVNetError(
                f"the outcome store cannot write {path} ({error.strerror or error}); free space or set paths.store "
                "to a writable folder. What was written before is kept."
            ) from error

    def inner(self, key: TableKey) -> Table:
        """A table inside this one, which is pruned with it."""
        return Table(self.folder, key)

    def held(self, span: Span) -> list[Span]:
        """The parts of a span that files hold; ``missing`` is the rest."""
        edges = [span[0], *(edge for gap in self.missing(span) for edge in gap), span[1]]
        return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]

    def read(self, stop: int, start: int = 0) -> pa.Table:
        """Rows [start, stop), memory-mapped; see ``rows``."""
        return self.rows(stop, start).table

    def rows(self, stop: int, start: int = 0) -> Rows:
        """Rows [start, stop), memory-mapped.

        Raises:
            DamagedPart: a part cannot be read.
            VoVNetError: another version of this program wrote the table.
            KeyError: rows are missing.
        """
        return Rows(self._pieces(stop, start))

    def _pieces(self, stop: int, begin: int) -> list[_Piece]:
        """Mapped parts that hold the rows [begin, stop), each row once."""
        self._check_format()
        taken, cursor = [], begin
        for (start, end), path in self.parts():
            if end <= cursor or start >= stop:
                continue
            if start > cursor:
                break
            taken.append((start, end, path, cursor))
            cursor = min(end, stop)
        _check([path for _, _, path, _ in taken])
        pieces = []
        for start, end, path, first in taken:
            piece = _map_arrow(path)
            if (own := (piece.rows.schema.metadata or {}).get(TABLE)) not in (None, self.key.id.encode()):
                raise _set_aside(path, f"it belongs to the table {own.decode(errors='replace')}")
            if len(piece.rows) != end - start:
                raise _set_aside(path, f"{len(piece.rows)} rows instead of {end - start}")
            pieces.append(replace(piece, rows=piece.rows.slice(first - start, min(end, stop) - first)))
        if cursor < stop:
            raise KeyError(f"{self.folder} holds rows up to {cursor}, not {stop}")
        return pieces

    def _check_format(self) -> None:
        """Refuse a table that says of itself that it has another format; the key's hash leaves those alone already."""
        described = read_description(self.folder)
        if described is not None and described.get("format") != FORMAT:
            raise VoVNetError(
                f"the outcome table {self.folder} has format {described.get('format')}, this version reads {FORMAT}; "
                "remove the folder, and its rows are computed anew."
            )


def read_description(folder: Path) -> dict[str, Any] | None:
    """What a table says of itself, for people; None, and said, where that is missing or damaged."""
    try:
        described = read_object(folder / TABLE_FILE)
        return {"branch": described["branch"], "facts": dict(described["facts"]), **described}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s); the rows beside it are not", folder / TABLE_FILE, error)
        return None


class OutcomeStore:
    """A folder of tables, with claims that keep two jobs from computing the same rows."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def table(self, key: TableKey) -> Table:
        """The table of a key; it exists on disk once a part is written."""
        return Table(self.root, key)

    def claim(self, subject: str, chunk: int, wait: bool) -> Claim | None:
        """Claim the computing of a chunk of a subject; None if another job has it and this one does not wait.

        Raises:
            VoVNetError: the store cannot be written.
        """
        folder = self.root / CLAIMS
        claim = Claim(folder / f"{subject}-{chunk:09d}.lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return claim if claim.take(wait) else None
        except OSError as error:
            raise VoVNetError(
                f"the outcome store {self.root} cannot be written ({error.strerror}); free space or set paths.store "
                "to a writable folder."
            ) from error


def _arrow_bytes(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _check(paths: Sequence[Path]) -> None:
    """Compare parts with the checksums in their names; large ones once in each state that they are in.

    A gigabyte takes half a second, so that a part is sound is remembered beyond this process.

    Raises:
        DamagedPart: the first that differs was set aside.
    """
    try:
        wrong = failed_checksum(paths, _intact)
    except FileNotFoundError as error:
        raise _gone(error.filename) from error
    except OSError as error:
        raise _unreadable(error.filename, error) from error
    if wrong:
        raise _set_aside(wrong[0], "its checksum is wrong")


def _unreadable(path: Path | str, error: OSError) -> VoVNetError:
    """What the machine refuses to read may be sound: it stays where it is."""
    return VoVNetError(
        f"the outcome file {path} cannot be read ({error.strerror or error}); see to the disk, its permissions or the "
        "memory, or remove the file, and its rows are computed anew."
    )


def _gone(path: Path | str) -> DamagedPart:
    return DamagedPart(Path(path), f"the outcome file {path} was set aside by another job")


def _intact(path: Path) -> bool:
    """Whether a part's bytes have the checksum in its name."""
    match = PART.match(path.name)
    checksum = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    except OSError as error:
        error.filename = str(path)  # an error of reading has none
        raise
    return match is not None and f"{checksum:08x}" == match[3]


def _map_arrow(path: Path) -> _Piece:
    try:
        whole = pa.memory_map(str(path), "r").read_buffer()
        return _Piece(path, pa.ipc.open_file(pa.BufferReader(whole)).read_all(), whole.address)
    except FileNotFoundError as error:
        raise _gone(path) from error
    except pa.ArrowInvalid as error:
        raise _set_aside(path, str(error)) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _set_aside(path: Path, reason: str) -> DamagedPart:
    """Rename a damaged part so that its rows count as missing."""
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
    except FileNotFoundError:  # another reader was faster
        log.info("%s was set aside by another job", path)
    except OSError as error:
        raise VoVNetError(
            f"the outcome file {path} is damaged ({reason}) and cannot be renamed ({error.strerror}); remove it."
        ) from error
    return DamagedPart(
        path,
        f"the outcome file {path} is damaged ({reason}); it was renamed to {aside.name} and its rows are computed "
        "anew.",
    )
