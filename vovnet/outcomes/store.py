"""The outcome store: finished rows on disk, shared by every job.

A *table* holds what the model did in one look at one split, under one backbone, prompt, budget and decoding. Its folder
is named by a hash of exactly those; change any of them and another table is used. Inside that folder are tables of what
follows from its rows: scores of its answers, one for each scorer, or in a text table's the values of each policy. A
table grows by *parts*: immutable Arrow files of consecutive rows, memory-mapped when read. A part appears by one
rename, so a reader sees whole parts only, and a killed writer loses at most the part it was on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from vovnet.errors import VoVNetError
from vovnet.files import atomic_write, read_object, write_bytes
from vovnet.locks import Claim
from vovnet.outcomes.parts import PART, MissingRows, Piece, Rows, arrow_bytes, check, map_arrow, set_aside
from vovnet.terminal import counted

log = logging.getLogger(__name__)

# Rises when the layout of parts changes; older tables are then left alone.
# 2: scores are tables of their own, inside the folder of the answers that they judge; optional columns; any look.
FORMAT = 2
TEXT = "text"  # the table of text passes; the others are named after their looks
NAME = re.compile(r"[a-z0-9_]+")  # of a table
TABLE = b"vovnet.table"  # in a part's metadata: which table it is of
ATTEMPTS = 3  # to write into a folder that others remove
CLAIMS = "claims"  # folder of a store's locks
TABLE_FILE = "table.json"  # a table's key in the clear
Span = tuple[int, int]  # rows [start, stop)


@dataclass(frozen=True)
class TableKey:
    """All that determines the rows of a table.

    Attributes:
        branch: ``text``, or the name of a look, such as ``full``; ``scores`` or ``values`` inside another table.
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


class Table:
    """One branch's rows; safe for any number of readers and writers at once."""

    def __init__(self, root: Path, key: TableKey) -> None:
        self.key = key
        self.folder = root / key.id

    def parts(self) -> list[tuple[Span, Path]]:
        """Finished parts in order of their first row."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    if (match := PART.match(entry.name)) and entry.is_file():  # not a link to what is no longer there
                        found.append(((int(match[1]), int(match[2])), Path(entry.path)))
        except (FileNotFoundError, NotADirectoryError):  # nothing was written yet, or it is being removed
            return []
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
        content = arrow_bytes(rows.replace_schema_metadata({TABLE: self.key.id}))
        facts = {"format": FORMAT, "branch": self.key.branch, "facts": self.key.facts, "note": note}
        path = self.folder / f"{start:09d}-{start + len(rows):09d}-{zlib.crc32(content):08x}.arrow"
        try:
            for attempt in range(ATTEMPTS):
                try:
                    if not describe.exists():
                        atomic_write(
                            describe, lambda temporary: temporary.write_text(json.dumps(facts, indent=2) + "\n")
                        )
                    write_bytes(path, content)
                    break
                except FileNotFoundError:  # the folder was pruned at this moment
                    if attempt + 1 == ATTEMPTS:
                        raise
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
            MissingRows: rows are missing, which is a KeyError too.
        """
        return Rows(self._pieces(stop, start))

    def _pieces(self, stop: int, begin: int) -> list[Piece]:
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
        check([path for _, _, path, _ in taken])
        pieces = []
        for start, end, path, first in taken:
            piece = map_arrow(path)
            if (own := (piece.rows.schema.metadata or {}).get(TABLE)) not in (None, self.key.id.encode()):
                raise set_aside(path, f"it belongs to the table {own.decode(errors='replace')}")
            if len(piece.rows) != end - start:
                raise set_aside(path, f"{counted(len(piece.rows), 'row')} instead of {end - start}")
            pieces.append(replace(piece, rows=piece.rows.slice(first - start, min(end, stop) - first)))
        if cursor < stop:
            raise MissingRows(self.folder, cursor, stop)
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
