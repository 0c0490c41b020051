"""Rows of published table files, with their images left where they are."""

import base64
import binascii
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.data.images import OpenFiles, ParquetImage, TsvImage
from vovnet.data.sample import ImageRef
from vovnet.data.tsv import Record, tsv_records
from vovnet.errors import VoVNetError
from vovnet.files import open_file

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # JSON may spell characters that no text can hold
NO_TEXT = (list, dict, bytes)
POINTER_LENGTH = 64  # an `image` of at most so many characters names another row


@dataclass(slots=True)  # not frozen: that takes three times as long to make
class Row:
    """One record.

    Attributes:
        number: in its file, from 0.
        fields: under lower-case names, without images.
        images: those the record holds, by column.
        problem: what makes the record unusable, if anything.
    """

    number: int
    fields: dict[str, Any]
    images: dict[str, ImageRef] = field(default_factory=dict)
    problem: str = ""


def table_rows(path: Path, opened: OpenFiles) -> Iterator[Row]:
    """The records of a file, by what its name ends in.

    Args:
        opened: where images keep the file open.

    Raises:
        VoVNetError: unreadable, or of a kind that is not known.
    """
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {
        ".tsv": tsv_rows,
        ".parquet": partial(parquet_rows, opened=opened),
        ".json": json_rows,
        ".jsonl": jsonl_rows,
    }
    if path.suffix not in readers:
        raise VoVNetError(f"{path} is none of {', '.join(readers)}; convert it to one of them.")
    return _whole(path, readers[path.suffix](path))


def _whole(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; what stops the reading of a file becomes one sentence, whatever the file's kind."""
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise VoVNetError(f"{path} is not in UTF-8 ({error}); save it in UTF-8.") from error
    except RecursionError as error:
        raise VoVNetError(f"{path} is nested too deeply to be a table; replace the file.") from error
    except (OSError, pa.ArrowException, OverflowError, ValueError) as error:  # a date before the year 1
        said = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise VoVNetError(f"{path} cannot be read ({said}); restore or download the file again.") from error


def lower_names(path: Path, names: Iterable[str]) -> list[str]:
    """Columns' names in lower case, as rows are read by.

    Raises:
        VoVNetError: two are alike, so that one would hide the other.
    """
    lower = [name.lower() for name in names]
    if twice := sorted({name for name in lower if lower.count(name) > 1}):
        raise VoVNetError(f"{path} has two columns named {twice[0]!r}; leave one of them out.")
    return lower


def tsv_rows(path: Path) -> Iterator[Row]:
    """Records of a TSV; an `image` longer than a pointer is base64 and stays in the file."""
    records = tsv_records(path)
    names = lower_names(path, next(records, Record(0, 0, [])).cells)
    column = names.index("image") if "image" in names else -1
    for number, record in enumerate(records):
        cells = record.cells
        if record.problem:
            yield Row(number, {}, problem=record.problem)
            continue
        if not cells:  # a blank line
            continue
        fields: dict[str, Any] = dict(zip(names, map(or_nothing, cells), strict=False))
        if len(cells) != len(names):
            yield Row(number, fields, problem=f"it has {len(cells)} fields, the header has {len(names)}")
            continue
        content = fields.get("image", "")
        if len(content) <= POINTER_LENGTH:
            yield Row(number, fields)
            continue
        del fields["image"]
        image = TsvImage(str(fields.get("index", number)), path, record.start, record.length, column)
        yield Row(number, fields, {"image": image}, _base64_problem(content))


def or_nothing(cell: Any) -> Any:
    """A cell of a table that pandas wrote: "nan" where there was nothing."""
    return "" if cell == "nan" else cell


def _base64_problem(content: str) -> str:
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        return f"its image is no base64 ({error})"
    return ""


def parquet_rows(path: Path, opened: OpenFiles) -> Iterator[Row]:
    """Records of a parquet file of the hub's layout, whose images are cells of {bytes, path}."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        said = " ".join(str(error).split())
        raise VoVNetError(f"{path} is no readable parquet file ({said}); download it again.") from error
    schema = file.schema_arrow
    lower_names(path, schema.names)
    columns = [name for name in schema.names if is_image(schema.field(name).type)]
    filled = _filled(file, columns)
    number = 0
    for batch in file.iter_batches(1024, columns=[name for name in schema.names if name not in columns]):
        for record in batch.to_pylist():
            present = [name for name in columns if filled[name][number]]
            images: dict[str, ImageRef] = {
                name.lower(): ParquetImage(f"{number}:{name}", path, number, name, opened) for name in present
            }
            yield Row(number, {name.lower(): or_nothing(value) for name, value in record.items()}, images)
            number += 1


def is_image(kind: pa.DataType) -> bool:
    """Whether a column holds images: cells of {bytes, path}, as the `datasets` library stores them."""
    return pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def _filled(file: pq.ParquetFile, columns: list[str]) -> dict[str, list[bool]]:
    """Which rows have an image in which column; read from the small part of the cells, never the bytes."""
    table = file.read(columns=[f"{name}.path" for name in columns])
    return {name: table[name].is_valid().to_pylist() for name in columns}


def json_rows(path: Path) -> Iterator[Row]:
    """Records of a JSON list, or of the list under ``data``."""
    with open_file(path) as file:
        text = file.read()
    try:
        content = json.loads(text, object_pairs_hook=_distinct)
        rows = content["data"] if isinstance(content, dict) else content
    except (ValueError, KeyError, RecursionError) as error:
        raise VoVNetError(f"{path} is no JSON with rows under `data` ({error}); download the file again.") from error
    if not isinstance(rows, list):
        raise VoVNetError(f"{path} holds {type(rows).__name__} instead of a list of rows; download the file again.")
    suspect = SURROGATE.search(text.decode("latin-1")) is not None
    for number, row in enumerate(rows):
        yield _json_row(number, row, suspect)


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Records of a file with one JSON object a line; a line that is none is a malformed row."""
    decode = json.JSONDecoder(object_pairs_hook=_distinct).decode  # json.loads looks at its arguments each time
    with open_file(path) as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                text = line.decode("utf-8-sig" if number == 0 else "utf-8")
                yield _json_row(number, decode(text), "\\u" in text and SURROGATE.search(text) is not None)
            except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError alike
                yield Row(number, {}, problem=f"the line is no JSON ({error})")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; JSON's own reader would keep the last of two fields of one name."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a field occurs twice in {sorted(name for name, _ in pairs)}")
    return found


def _json_row(number: int, row: Any, suspect: bool) -> Row:
    """A record; one that spells a ``suspect`` character is looked at for halves of characters."""
    if not isinstance(row, dict):
        return Row(number, {}, problem=f"{str(row)[:60]!r} is no record")
    problem = ""
    if suspect:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            problem = "it holds half of a surrogate pair, which is no character"
    fields = row if all(map(str.islower, row)) else {name.lower(): value for name, value in row.items()}
    return Row(number, fields, problem=problem if len(fields) == len(row) else "two of its fields have the same name")


def cell_text(value: Any) -> str:
    """A cell as text; null is empty, and so is what is no text."""
    if isinstance(value, str):  # first: a large set has millions of cells
        return value.strip()
    return "" if value is None or isinstance(value, NO_TEXT) or value != value else str(value).strip()


def text_problem(row: Row, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> str:
    """What is wrong with a record's texts, if anything."""
    fields = row.fields
    for name in (*required, *optional):
        if isinstance(fields.get(name), NO_TEXT):
            return f"{name} is no text"
    for name in required:
        if name not in fields:
            return f"there is no {name}"
        if not cell_text(fields[name]):
            return f"the {name} is empty"
    return ""


def cell_texts(value: Any) -> list[str] | None:
    """A text or a list of texts, as a list; None where it is something else."""
    if value is None:
        return []
    cells = value if isinstance(value, list) else [value]
    if {str}.issuperset(map(type, cells)):
        return [cell.strip() for cell in cells]
    return None if any(isinstance(cell, NO_TEXT) for cell in cells) else [cell_text(cell) for cell in cells]


def option_problem(options: Sequence[str]) -> str:
    """What is wrong with a list of options, if anything: each needs a letter and a text."""
    if len(options) > len(string.ascii_uppercase):
        return f"it has {len(options)} options, there are letters for {len(string.ascii_uppercase)}"
    return f"option {string.ascii_uppercase[options.index('')]} is empty" if "" in options else ""
