"""Between columns in memory and Arrow tables."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from vovnet.outcomes.rows import BlockRows, FileRows, Keep, LookState, ModelOutcomes, Scores, TextOutcomes

BESIDE = ("nll", "entropy", "margin")  # columns of a look that have tables of their own


def text_table(parts: Sequence[TextOutcomes], order: Sequence[int]) -> pa.Table:
    """Join batches into one table; row r of the table is row ``order.index(r)`` of the batches."""
    place = np.argsort(order)
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])[place]
        for name in ("entropy", "margin", "text_tokens")
    }
    hidden = np.concatenate([block for part in parts for block in part.hidden.blocks()])[place]
    given = {"hidden": matrix(hidden)} if hidden.shape[1] else {}  # a server gives none
    return pa.table({**given, **arrows(columns)})


def branch_table(parts: Sequence[ModelOutcomes], order: Sequence[int]) -> pa.Table:
    """Join batches of one branch into one table, rows in the order of their indices: the answers alone."""
    place, whole = np.argsort(order), type(parts[0]).join(parts)
    own = {f.name for f in fields(ModelOutcomes)}.difference(BESIDE)
    return pa.table(arrows({name: column[place] for name, column in whole.columns().items() if name in own}))


def scores_table(scores: Scores) -> pa.Table:
    """Columns as they are."""
    return pa.table(arrows({field.name: getattr(scores, field.name) for field in fields(Scores)}))


def nll_table(parts: Sequence[np.ndarray], order: Sequence[int]) -> pa.Table:
    """Batches of NLL as one table, rows in the order of their indices."""
    return pa.table(arrows({"nll": np.concatenate(parts)[np.argsort(order)]}))


def state_table(parts: Sequence[LookState], order: Sequence[int]) -> pa.Table:
    """Batches of what a look's prefill yields as one table, rows in the order of their indices."""
    place = np.argsort(order)
    columns = {name: np.concatenate([getattr(part, name) for part in parts])[place] for name in ("entropy", "margin")}
    hidden = np.concatenate([block for part in parts for block in part.hidden.blocks()])[place]
    return pa.table({"hidden": matrix(hidden), **arrows(columns)})


def state_from_table(table: pa.Table, hidden: Sequence[np.ndarray | FileRows]) -> LookState:
    """The same back; the hidden states stay in their files."""
    return LookState(BlockRows(hidden), column(table["entropy"]), column(table["margin"]))


def scores_from_table(table: pa.Table) -> Scores:
    """The same back."""
    return Scores(**{field.name: column(table[field.name]) for field in fields(Scores)})


def values_table(values: np.ndarray) -> pa.Table:
    """A policy's values, [N, A]."""
    return pa.table({"values": matrix(values)})


def arrows(columns: Mapping[str, np.ndarray]) -> dict[str, pa.Array]:
    """Columns by their names, each as ``arrow`` makes it."""
    return {name: arrow(column) for name, column in columns.items()}


def arrow(column: np.ndarray) -> pa.Array:
    """Numbers, truth values, or texts and None as a column, [N]. ``pa.array`` does the same and imports pandas."""
    size = len(column)
    if column.dtype == bool:
        return pa.Array.from_buffers(pa.bool_(), size, [None, _bits(column)])
    if column.dtype.kind not in "OU":
        content = pa.py_buffer(np.ascontiguousarray(column))
        return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), size, [None, content])
    texts = [None if text is None else text.encode() for text in column]
    ends = np.cumsum([0, *(len(text or b"") for text in texts)], dtype=np.int32)
    known = None if None not in texts else _bits(np.array([text is not None for text in texts]))
    joined = pa.py_buffer(b"".join(text or b"" for text in texts))
    return pa.Array.from_buffers(pa.string(), size, [known, pa.py_buffer(ends), joined])


def _bits(truths: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(truths, bitorder="little"))


def matrix(rows: np.ndarray) -> pa.Array:
    """A [N, D] array as a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(arrow(rows.reshape(-1)), rows.shape[1])


def text_from_table(table: pa.Table, hidden: Sequence[np.ndarray | FileRows], keep: Keep | None = None) -> TextOutcomes:
    """Columns of a text table; the hidden states stay in their files."""
    columns = {name: column(table[name]) for name in ("entropy", "margin", "text_tokens")}
    return TextOutcomes(BlockRows(hidden), **columns, keep=keep)


def branch_from_table(table: pa.Table) -> ModelOutcomes:
    """Columns of a branch table."""
    # Where nothing is cut off, which is the rule, answer and prediction are one array in memory.
    same = table["answer"].equals(table["prediction"])
    left_out = {"hidden", *BESIDE, *(["answer"] if same else [])}
    names = [f.name for f in fields(ModelOutcomes) if f.name in table.column_names and f.name not in left_out]
    columns: dict[str, Any] = {name: column(table[name]) for name in names}
    return ModelOutcomes(**({"answer": columns["prediction"]} if same else {}), **columns)


def column(chunked: pa.ChunkedArray) -> np.ndarray:
    """A column as the array it was written from. ``to_numpy`` does the same and imports pandas: half a second."""
    if pa.types.is_string(chunked.type):
        return np.array(chunked.to_pylist(), dtype=object)
    return np.concatenate([values(chunk) for chunk in chunked.chunks])


def values(chunk: pa.Array) -> np.ndarray:
    """Numbers or truth values without a null, [rows]; of fixed-size lists, [rows, columns] without a copy."""
    kind, content = chunk.type, chunk.buffers()[-1]
    if pa.types.is_boolean(kind):
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        return bits[chunk.offset : chunk.offset + len(chunk)].astype(bool)
    if pa.types.is_fixed_size_list(kind):
        flat = np.frombuffer(content, kind.value_type.to_pandas_dtype())
        return flat[chunk.offset * kind.list_size :][: len(chunk) * kind.list_size].reshape(-1, kind.list_size)
    return np.frombuffer(content, kind.to_pandas_dtype())[chunk.offset : chunk.offset + len(chunk)]
