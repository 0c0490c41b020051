"""Rows that another engine has made: the columns of their files, read and checked.

A row is one look at one question. Files are Parquet or JSON lines, any number of them in one folder; a column that is
null for all rows of a look is not given for it. ``experiments/outcomes.md`` describes the columns for people.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from vovnet.actions import USUAL
from vovnet.errors import VoVNetError
from vovnet.files import open_file

FEATURES = "features.npy"  # beside the files: one hidden state a row
LOOK = re.compile(r"side\d+|(side\d+_)?(stride|topk_norm|random|pool|merge)\d+(_\d+)?|(\w+_)?options[0-9a-f]{8}")
LINES = 20_000  # of JSON that are objects in memory at once
Kind = Literal["text", "whole", "number", "truth"]


@dataclass(frozen=True)
class Field:
    """A column of the rows.

    Attributes:
        type: of its values in the store, and in files that are exported.
        low, high: bounds of numbers; None is none.
        required: whether no row does without.
    """

    kind: Kind
    type: pa.DataType
    low: float | None = 0
    high: float | None = None
    required: bool = False


TEXT, COUNT = Field("text", pa.string()), Field("whole", pa.int32(), high=2**31 - 1)
AMOUNT, SHARE = Field("number", pa.float32()), Field("number", pa.float32(), high=1)
# In this order in exported files.
FIELDS = {
    "id": Field("text", pa.string(), required=True),
    "look": Field("text", pa.string(), required=True),
    "prediction": Field("text", pa.string(), required=True),
    "vision_tokens": Field("whole", pa.int32(), high=2**31 - 1, required=True),
    "answer": TEXT,
    "score": Field("number", pa.float64(), high=1),
    "parsed": Field("truth", pa.bool_()),
    "refused": Field("truth", pa.bool_()),
    "nll": AMOUNT,
    "entropy": AMOUNT,
    "margin": SHARE,
    "answer_probability": SHARE,
    "text_tokens": COUNT,
    "prompt_tokens": COUNT,
    "reused_tokens": COUNT,
    "patches": COUNT,
    "generated_tokens": COUNT,
    "seconds": AMOUNT,
    "features_row": Field("whole", pa.int64()),
    "engine": TEXT,
}
WIDE: dict[Kind, pa.DataType] = {
    "text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_()
}  # fmt: skip


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


@dataclass(frozen=True)
class Source:
    """A file of rows, and where in it a row is."""

    name: str
    unit: Literal["row", "line"]

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Say what is wrong with a row, counted from 0.

        Raises:
            VoVNetError: always.
        """
        raise VoVNetError(f"{self.name}, {self.unit} {row + 1}: {problem}.")


@dataclass(frozen=True)
class Foreign:
    """All rows of some files, one after the other.

    Attributes:
        table: the columns that are given, as ``FIELDS`` types them.
        sources: of each file, with the number of rows before its first.
        features: hidden states [R, D] that ``features_row`` counts in; None where there is no file of them.
    """

    table: pa.Table
    sources: Sequence[tuple[int, Source]]
    features: np.ndarray | None

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Say what is wrong with a row.

        Raises:
            VoVNetError: always.
        """
        first, source = [one for one in self.sources if one[0] <= row][-1]
        source.refuse(row - first, problem)


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


def checked(rows: Foreign) -> Foreign:
    """The same, with every value within its bounds.

    Raises:
        VoVNetError: names the row and what to change.
    """
    table = rows.table
    if lacking := [name for name, field in FIELDS.items() if field.required and name not in table.column_names]:
        raise VoVNetError(f"{rows.sources[0][1].name} lacks the column {lacking[0]}; every row needs it.")
    if not len(table):
        raise VoVNetError(f"{rows.sources[0][1].name} holds no row; write one for each question and look.")
    given = [n for n in table.column_names if FIELDS[n].required or table[n].null_count < len(table)]
    table, rows = table.select(given), replace(rows, table=table.select(given))
    for name in table.column_names:
        field, column = FIELDS[name], table[name]
        if field.required and column.null_count:
            rows.refuse(_first(pc.is_null(column)), f"it has no {name}; every row needs one")
        if field.kind not in ("whole", "number"):
            continue
        high = np.inf if field.high is None else field.high
        known = pc.fill_null(pc.cast(column, pa.float64()), 0.0)
        inside = pc.and_(pc.is_finite(known), pc.and_(pc.greater_equal(known, field.low), pc.less_equal(known, high)))
        if not pc.all(inside).as_py():
            row = _first(pc.invert(inside))
            bounds = f"at least {field.low}" if field.high is None else f"between {field.low} and {field.high:g}"
            rows.refuse(row, f"{name}={column[row].as_py()} must be {bounds}")
    for label in pc.unique(table["look"]).to_pylist():
        if label not in {look.label for look in USUAL} and not LOOK.fullmatch(label):
            rows.refuse(
                _first(pc.equal(table["look"], label)),
                f"the look {label[:40]!r} is none of no, coarse and full, and no name of a look such as side448 or "
                "side448_merge50",
            )
    seen = pc.and_(pc.equal(table["look"], "no"), pc.greater(table["vision_tokens"], 0))
    if pc.any(seen).as_py():
        rows.refuse(_first(seen), "the look no shows no image, so its vision_tokens must be 0")
    _check_features(rows)
    narrow = {name: pc.cast(table[name], FIELDS[name].type, safe=False) for name in table.column_names}
    return Foreign(pa.table(narrow), rows.sources, rows.features)


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


def _check_features(rows: Foreign) -> None:
    """Refuse row numbers without a row, and hidden states that are no numbers."""
    given = rows.table.column_names
    if "features_row" not in given or rows.table["features_row"].null_count == len(rows.table):
        return
    if rows.features is None:
        raise VoVNetError(f"{rows.sources[0][1].name} has the column features_row, but no {FEATURES} lies beside it.")
    count, column = len(rows.features), pc.fill_null(rows.table["features_row"], 0)
    if (most := pc.max(column).as_py()) >= count:
        rows.refuse(_first(pc.equal(column, most)), f"features_row={most}, but {FEATURES} has {count} rows, from 0")


def _first(mask: Any) -> int:
    """The first row where a mask holds."""
    return int(pc.index(mask, True).as_py())
