"""Rows of published table files, with their images left where they are."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.data.embedded import ParquetImage, TsvImage, tsv_records
from vovnet.data.sample import ImageRef
from vovnet.errors import VoVNetError

POINTER_LENGTH = 64  # an `image` of at most so many characters names another row


@dataclass(frozen=True)
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


def table_rows(path: Path) -> Iterator[Row]:
    """The records of a file, by what its name ends in.

    Raises:
        VoVNetError: unreadable, or of a kind that is not known.
    """
    readers = {".tsv": tsv_rows, ".parquet": parquet_rows, ".json": json_rows, ".jsonl": jsonl_rows}
    if path.suffix not in readers:
        raise VoVNetError(f"{path} is none of {', '.join(readers)}; convert it to one of them.")
    return readers[path.suffix](path)


def tsv_rows(path: Path) -> Iterator[Row]:
    """Records of a TSV; an `image` longer than a pointer is base64 and stays in the file."""
    records = tsv_records(path)
    _, _, header = next(records, (0, 0, []))
    names = [name.lower() for name in header]
    column = names.index("image") if "image" in names else -1
    for number, (start, length, cells) in enumerate(records):
        fields: dict[str, Any] = dict(zip(names, cells, strict=False))
        if len(cells) != len(names):
            yield Row(number, fields, problem=f"it has {len(cells)} fields, the header has {len(names)}")
            continue
        content = fields.get("image", "")
        if len(content) <= POINTER_LENGTH:
            yield Row(number, fields)
            continue
        del fields["image"]
        image = TsvImage(str(fields.get("index", number)), path, start, length, column)
        yield Row(number, fields, {"image": image}, _base64_problem(content))


def _base64_problem(content: str) -> str:
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        return f"its image is no base64 ({error})"
    return ""


def parquet_rows(path: Path) -> Iterator[Row]:
    """Records of a parquet file of the hub's layout, whose images are cells of {bytes, path}."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise VoVNetError(f"{path} is no readable parquet file ({error}); download it again.") from error
    schema = file.schema_arrow
    columns = [name for name in schema.names if is_image(schema.field(name).type)]
    filled = _filled(file, columns)
    number = 0
    for batch in file.iter_batches(1024, columns=[name for name in schema.names if name not in columns]):
        for record in batch.to_pylist():
            present = [name for name in columns if filled[name][number]]
            images: dict[str, ImageRef] = {
                name.lower(): ParquetImage(f"{number}:{name}", path, number, name) for name in present
            }
            yield Row(number, {name.lower(): value for name, value in record.items()}, images)
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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content["data"] if isinstance(content, dict) else content
    except (ValueError, KeyError) as error:
        raise VoVNetError(f"{path} is no JSON with rows under `data` ({error}); download the file again.") from error
    if not isinstance(rows, list):
        raise VoVNetError(f"{path} holds {type(rows).__name__} instead of a list of rows; download the file again.")
    for number, row in enumerate(rows):
        yield _json_row(number, row)


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Records of a file with one JSON object a line; a line that is none is a malformed row."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                yield _json_row(number, json.loads(line))
            except ValueError as error:  # UnicodeDecodeError and JSONDecodeError alike
                yield Row(number, {}, problem=f"the line is no JSON ({error})")


def _json_row(number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        return Row(number, {}, problem=f"{str(row)[:60]!r} is no record")
    return Row(number, {str(name).lower(): value for name, value in row.items()})


def cell_text(value: Any) -> str:
    """A cell as text; pandas' "nan" and null are empty."""
    text = "" if value is None else str(value).strip()
    return "" if text == "nan" else text
