"""Files of rows that another engine has made: Parquet and JSON lines, read into columns."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from vovnet.errors import VoVNetError
from vovnet.files import open_file
from vovnet.outcomes.foreign import FEATURES, FIELDS, WIDE, Foreign, Kind, Source, checked

LINES = 20_000  # of JSON that are objects in memory at once


def _is_text(value: Any) -> bool:
    """Whether it is a text that UTF-8 can hold, or a number that serves as an id."""
    try:
        return (isinstance(value, int) and not isinstance(value, bool)) or bool(value.encode()) or value == ""
    except (AttributeError, UnicodeEncodeError):
        return False


FITS: dict[Kind, Callable[[Any], bool]] = {
    "text": _is_text,
    "whole": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and int(value) == value and abs(value) < 2**62
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "truth": lambda value: isinstance(value, bool),
}
SAID = {"text": "text", "whole": "a whole number", "number": "a number", "truth": "true or false"}


def read_folder(folder: Path) -> Foreign:
    """The rows of every .parquet and .jsonl file of a folder, and its ``features.npy``.

    Raises:
        VoVNetError: names the file, the row and what to change.
    """
    if not folder.is_dir():
        raise VoVNetError(f"store.import_from={folder} is not a folder; name the one that holds the rows' files.")
    files = sorted(path for ending in ("parquet", "jsonl") for path in folder.glob(f"*.{ending}"))
    if not files:
        raise VoVNetError(f"store.import_from={folder} holds no .parquet and no .jsonl file; write the rows into one.")
    tables, sources, before = list[pa.Table](), list[tuple[int, Source]](), 0
    for path in files:
        source = Source(str(path), "row" if path.suffix == ".parquet" else "line")
        try:
            table = typed(_parquet(path) if path.suffix == ".parquet" else _lines(path, source), source)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise VoVNetError(f"{path} cannot be read ({said}); write it again.") from error
        if tables and (other := {*table.column_names} ^ {*tables[0].column_names}) and sources[0][1].unit == "row":
            raise VoVNetError(f"{path} and {files[0]} do not both have the column {min(other)}; write them alike.")
        tables.append(table)
        sources.append((before, source))
        before += len(table)
    whole = pa.concat_tables(tables, promote_options="default")
    return checked(Foreign(whole, sources, _features(folder / FEATURES)))


def read_frame(frame: Any, features: np.ndarray | None = None) -> Foreign:
    """The rows of a DataFrame of pandas, or of anything else that pyarrow takes for a table.

    Args:
        features: hidden states [R, D], for its column ``features_row``.

    Raises:
        VoVNetError: names the row and what to change.
    """
    source = Source("the table", "row")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False) if hasattr(frame, "iloc") else pa.table(frame)
    except (TypeError, pa.ArrowException) as error:
        raise VoVNetError(f"the rows are no table ({str(error).splitlines()[0]}); give a DataFrame.") from error
    return checked(Foreign(typed(table, source), [(0, source)], features))


def typed(table: pa.Table | Mapping[str, list[Any]], source: Source) -> pa.Table:
    """Columns of a file in the widest type of their kind; names and types checked.

    Raises:
        VoVNetError: names the column or the row.
    """
    names = table.column_names if isinstance(table, pa.Table) else [*table]
    if strange := [name for name in names if name not in FIELDS]:
        raise VoVNetError(
            f"{source.name} has the column {strange[0][:40]!r}, none of {', '.join(FIELDS)}; drop or rename it."
        )
    found = {}
    for name in names:
        column, kind = table[name], FIELDS[name].kind
        try:
            if isinstance(column, list):
                found[name] = _array(column, kind)
            elif pa.types.is_boolean(column.type) != (kind == "truth"):
                raise pa.ArrowInvalid("of another kind")
            else:
                found[name] = pc.cast(column, WIDE[kind])
        except (pa.ArrowException, OverflowError):
            values = column if isinstance(column, list) else column.to_pylist()
            row = next((n for n, value in enumerate(values) if value is not None and not FITS[kind](value)), 0)
            source.refuse(row, f"{name}={str(values[row])[:40]!r} is not {SAID[kind]}")
    return pa.table(found)


def _array(values: list[Any], kind: Kind) -> pa.Array:
    """Python values as a column."""
    if not all(value is None or FITS[kind](value) for value in values):
        raise pa.ArrowInvalid("of another kind")
    if kind == "text":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(
        [None if value is None else int(value) if kind == "whole" else value for value in values], WIDE[kind]
    )


def _parquet(path: Path) -> pa.Table:
    with open_file(path) as file:
        return pq.ParquetFile(file).read()


def _lines(path: Path, source: Source) -> pa.Table:
    """A file of JSON objects, by Arrow where it takes every line as it is; its errors name no line."""
    schema = pa.schema({name: WIDE[field.kind] for name, field in FIELDS.items()})
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    try:
        with open_file(path) as file:
            return pj.read_json(file, parse_options=options)
    except pa.ArrowInvalid:
        return _one_by_one(path, source)


def _one_by_one(path: Path, source: Source) -> pa.Table:
    """The same by Python, block by block: as objects all lines at once would take ten times the memory."""
    blocks, begun = [], 0
    for block in _blocks(path, source):
        names = dict.fromkeys(name for line in block for name in line)
        columns = {name: [line.get(name) for line in block] for name in names}
        blocks.append(typed(columns, _Shifted(source.name, source.unit, begun)))
        begun += len(block)
    return pa.concat_tables(blocks, promote_options="default") if blocks else pa.table({})


@dataclass(frozen=True)
class _Shifted(Source):
    """A file of which some lines were read before."""

    begun: int

    def refuse(self, row: int, problem: str) -> NoReturn:
        """As ``Source``."""
        super().refuse(row + self.begun, problem)


def _blocks(path: Path, source: Source) -> Iterator[list[dict[str, Any]]]:
    block, number = list[dict[str, Any]](), 0
    with open_file(path) as file:  # as bytes: texts may hold other ends of lines, such as U+2028
        for number, text in enumerate(file):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict):
                source.refuse(number, "it is no JSON object; write one object a line")
            block.append(line)
            if len(block) == LINES:
                yield block
                block = []
    if block:
        yield block


def _features(path: Path) -> np.ndarray | None:
    """The array of hidden states, mapped from its file."""
    if not path.exists():
        return None
    try:
        open_file(path).close()
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise VoVNetError(f"{path} cannot be read ({error}); write it with numpy.save.") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype not in (np.float16, np.float32, np.float64):
        raise VoVNetError(f"{path} is no array [rows, width] of float16, float32 or float64; write it so.")
    return found
