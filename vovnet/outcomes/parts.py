"""Parts of a table: immutable Arrow files, each with its rows and its checksum in its name."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from vovnet.errors import VoVNetError
from vovnet.fingerprint import failed_checksum
from vovnet.outcomes.convert import values
from vovnet.outcomes.rows import FileRows

log = logging.getLogger(__name__)
PART = re.compile(r"^(\d{9})-(\d{9})-([0-9a-f]{8})\.arrow$")  # first row, row after the last, CRC-32 of the file


@dataclass(frozen=True)
class Piece:
    """Rows of a part, and where in memory its file is mapped."""

    path: Path
    rows: pa.Table
    address: int


@dataclass(frozen=True)
class Rows:
    """Rows of a table in its mapped parts."""

    pieces: Sequence[Piece]

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
        return set_aside(self.pieces[int(np.searchsorted(ends, row, side="right"))].path, reason)

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


class MissingRows(DamagedPart, KeyError):  # noqa: N818  (likewise)
    """No part holds some rows: nobody has computed them yet, or they were pruned while they were in use."""

    def __init__(self, folder: Path, held: int, wanted: int) -> None:
        sentence = f"{folder} holds rows up to {held}, not {wanted}: others have removed them; run the command again."
        super().__init__(folder / f"{held}-{wanted}-", sentence)

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError's own would quote it


def arrow_bytes(rows: pa.Table) -> bytes:
    """A part's file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def check(paths: Sequence[Path]) -> None:
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
        raise set_aside(wrong[0], "its checksum is wrong")


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


def map_arrow(path: Path) -> Piece:
    """A part's rows, memory-mapped.

    Raises:
        DamagedPart: it is no Arrow file and was set aside, or it has gone.
        VoVNetError: the machine refuses to read it.
    """
    try:
        whole = pa.memory_map(str(path), "r").read_buffer()
        return Piece(path, pa.ipc.open_file(pa.BufferReader(whole)).read_all(), whole.address)
    except FileNotFoundError as error:
        raise _gone(path) from error
    except pa.ArrowInvalid as error:
        raise set_aside(path, str(error)) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def set_aside(path: Path, reason: str) -> DamagedPart:
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
