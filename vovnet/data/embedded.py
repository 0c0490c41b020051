"""Images that lie inside table files: opened when they are looked at, and only then."""

import base64
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
