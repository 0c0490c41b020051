"""Images of table rows: inside the table's file, or files in a folder; opened when they are looked at."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.data.sample import ImageRef
from vovnet.data.tsv import cells_of
from vovnet.files import open_file
from vovnet.session import Session


class OpenFiles(Session):
    """What a split keeps open of its files; a copy in another process opens them anew."""

    def __reduce__(self) -> tuple[type["OpenFiles"], tuple[()]]:
        return OpenFiles, ()


@dataclass(frozen=True)
class TsvImage(ImageRef):
    """A base64 image in one field of a tab-separated record.

    Attributes:
        start, length: the record's place in the file, bytes.
        column: the field's number in the record.
    """

    start: int = 0
    length: int = 0
    column: int = 0

    def content(self) -> bytes:
        """The decoded field."""
        try:
            with open_file(self.path) as file:
                file.seek(self.start)
                record = file.read(self.length)
            return base64.b64decode(cells_of(record)[self.column], validate=True)
        except (OSError, ValueError, IndexError) as error:
            raise self.refused(f"cannot be read as base64 ({error})") from error

    def where(self) -> str:
        """Row and file."""
        return f"of row {self.key} in {self.path}"


@dataclass(frozen=True)
class ParquetImage(ImageRef):
    """An image in a parquet file of the hub's layout: a column of {bytes, path}.

    Attributes:
        row: in the file.
        column: name of the image column.
    """

    row: int = 0
    column: str = "image"
    opened: OpenFiles = field(default_factory=OpenFiles, repr=False, compare=False)

    def content(self) -> bytes:
        """The cell's bytes."""
        try:
            cell = parquet_cell(self.path, self.column, self.row, self.opened)
        except (OSError, pa.ArrowException) as error:
            raise self.refused(f"cannot be read ({' '.join(str(error).split())})") from error
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if not isinstance(content, bytes) or not content:  # a path beside it is not followed
            raise self.refused("holds no bytes")
        return content

    def where(self) -> str:
        """Row, column and file."""
        return f"in {self.path}, row {self.row}, {self.column},"


def parquet_cell(path: Path, column: str, row: int, opened: OpenFiles) -> object:
    """One cell, by way of its row group; neighbours come from the same read."""
    file = opened.once("parquet", path, lambda: pq.ParquetFile(path), keep=32)
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if row < size:
            asked = path, group, column
            cells = opened.once("cells", asked, lambda: file.read_row_group(group, columns=[column]).column(0), keep=4)  # noqa: B023
            return cells[row].as_py()
        row -= size
    raise IndexError(f"{path} has no row {row}")


class ImagesBeside:
    """Finds image files that the rows of a table name, in some folders beside it and never outside of them.

    Absolute names, ``..`` and links are not followed out of a folder; the folder itself may be a link.
    Each name is looked for once, and places are strings: sets have a hundred thousand of them, and pathlib would take
    most of their opening.
    """

    def __init__(self, table: Path, folders: Sequence[str]) -> None:
        self._roots = [str((table.parent / folder).resolve()) for folder in folders]
        self._found: dict[str, ImageRef] = {}
        self._real: dict[str, str] = {}

    def find(self, name: str) -> ImageRef | None:
        """The image of that name, the same object each time; None where there is none."""
        if name not in self._found:
            for root in self._roots:
                file = os.path.join(root, name)  # noqa: PTH118
                if self._is_inside(root, file) and os.path.isfile(file):  # noqa: PTH113
                    self._found[name] = ImageRef(name, Path(file))
                    break
        return self._found.get(name)

    def _is_inside(self, root: str, file: str) -> bool:
        return real_path(file, self._real).startswith(f"{root}{os.sep}")


def real_path(file: str, known: dict[str, str]) -> str:
    """Where a file really lies, all links followed; ``known`` gathers where folders do, which many files share.

    A name that no file can have (NUL, too long, half a surrogate pair) lies nowhere: "".
    """
    folder, name = os.path.split(file)
    try:
        if name in ("", ".", "..") or os.path.islink(file):  # noqa: PTH114
            return os.path.realpath(file)
        if folder not in known:
            known[folder] = os.path.realpath(folder)
    except (OSError, ValueError):
        return ""
    return f"{known[folder].rstrip(os.sep)}{os.sep}{name}"
