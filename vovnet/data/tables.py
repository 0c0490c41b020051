"""Rows of published table files, with their images left where they are."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.data.embedded import ParquetImage, TsvImage, tsv_records
from vovnet.errors import VoVNetError

POINTER_LENGTH = 64  # an `image` of at most so many characters names another row

Row = tuple[int, dict[str, Any], Any]  # number in the file, fields, image


def tsv_rows(path: Path) -> Iterator[Row]:
    """Records of a TSV under its header's lower-case names; a long `image` is left in the file."""
    records = tsv_records(path)
    _, _, header = next(records, (0, 0, []))
    names = [name.lower() for name in header]
    column = names.index("image") if "image" in names else -1
    for number, (start, length, fields) in enumerate(records):
        row = dict(zip(names, fields, strict=False))
        image = TsvImage(str(row.get("index", number)), path, start, length, column)
        if len(row.get("image", "")) > POINTER_LENGTH:
            row["image"] = "embedded" * 9  # present and no pointer; its bytes stay in the file
        yield number, row, image


def parquet_rows(path: Path, *image_columns: str) -> Iterator[Row]:
    """Rows without their images' bytes; ``images`` names the image columns that are filled."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise VoVNetError(f"{path} is no readable parquet file ({error}); download it again.") from error
    names = file.schema_arrow.names
    present = [name for name in image_columns if name in names]
    filled = _filled(file, present)
    number = 0
    for batch in file.iter_batches(1024, columns=[name for name in names if name not in present]):
        for row in batch.to_pylist():
            row["images"] = [name for name in present if filled[name][number]]
            image = ParquetImage(str(row.get("index", number)), path, number, present[0] if present else "image")
            if "image" in row["images"]:
                row["image"] = "embedded"
            yield number, row, image
            number += 1


def _filled(file: pq.ParquetFile, columns: list[str]) -> dict[str, list[bool]]:
    """Which rows have an image in which column; read from the small part of the cells, never the bytes."""
    kinds = {name: file.schema_arrow.field(name).type for name in columns}
    small = [f"{name}.path" if pa.types.is_struct(kind) else name for name, kind in kinds.items()]
    table = file.read(columns=small)
    return {name: table[name].is_valid().to_pylist() for name in columns}


def json_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON list, or of the list under ``data``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows: Iterable[Any] = content["data"] if isinstance(content, dict) else content
    except (ValueError, KeyError) as error:
        raise VoVNetError(f"{path} is no JSON with rows under `data` ({error}); download the file again.") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise VoVNetError(f"{path}, row {number}: {str(row)[:60]!r} is no record; download the file again.")
        yield number, row, None


def lower_names(row: dict[str, Any]) -> dict[str, Any]:
    """The same fields under lower-case names."""
    return {str(name).lower(): value for name, value in row.items()}


def cell_text(value: Any) -> str:
    """A cell as text; pandas' "nan" and null are empty."""
    text = "" if value is None else str(value).strip()
    return "" if text == "nan" else text
