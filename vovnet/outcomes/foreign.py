"""Rows that another engine has made: the columns of their files, read and checked.

A row is one look at one question. Files are Parquet or JSON lines, any number of them in one folder; a column that is
null for all rows of a look is not given for it. ``experiments/outcomes.md`` describes the columns for people.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vovnet.actions import USUAL
from vovnet.errors import VoVNetError
from vovnet.terminal import counted

FEATURES = "features.npy"  # beside the files: one hidden state a row
LOOK = re.compile(r"side\d+|(side\d+_)?(stride|topk_norm|random|pool|merge)\d+(_\d+)?|(\w+_)?options[0-9a-f]{8}")
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


def _check_features(rows: Foreign) -> None:
    """Refuse row numbers without a row, and hidden states that are no numbers."""
    given = rows.table.column_names
    if "features_row" not in given or rows.table["features_row"].null_count == len(rows.table):
        return
    if rows.features is None:
        raise VoVNetError(f"{rows.sources[0][1].name} has the column features_row, but no {FEATURES} lies beside it.")
    count, column = len(rows.features), pc.fill_null(rows.table["features_row"], 0)
    if (most := pc.max(column).as_py()) >= count:
        rows.refuse(
            _first(pc.equal(column, most)), f"features_row={most}, but {FEATURES} has {counted(count, 'row')}, from 0"
        )


def _first(mask: Any) -> int:
    """The first row where a mask holds."""
    return int(pc.index(mask, True).as_py())
