"""Stored outcomes as rows for other programs: the columns of ``vovnet.outcomes.foreign``, in Parquet."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.files import atomic_write
from vovnet.outcomes.foreign import FEATURES, FIELDS
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, Outcomes

ROWS = "outcomes.parquet"
BLOCK = 65_536
STORED = {"answer_probability": "confidence"}  # columns of other names in ``BranchOutcomes``
SCHEMA = pa.schema({name: field.type for name, field in FIELDS.items()})


def export_rows(outcomes: Outcomes, dataset: VQADataset, engine: str, folder: Path) -> int:
    """Write rows and hidden states; the number of rows.

    Raises:
        OSError: the folder cannot be written.
    """

    def rows(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, SCHEMA) as writer:
            for table in _tables(outcomes, dataset, engine):
                writer.write_table(table, BLOCK)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / FEATURES).unlink(missing_ok=True)  # of an earlier export
    if parts := [hidden for hidden in _hidden(outcomes) if hidden is not None]:
        atomic_write(folder / FEATURES, lambda temporary: _write_features(temporary, parts))
    atomic_write(folder / ROWS, rows)
    return len(outcomes) * len(outcomes.branches)


def frame_of(outcomes: Outcomes, dataset: VQADataset, engine: str) -> Any:
    """The same rows as a DataFrame of pandas, whose columns that nothing is known of are left out."""
    table = pa.concat_tables(list(_tables(outcomes, dataset, engine)))
    known = [name for name in table.column_names if table[name].null_count < len(table)]
    return table.select(known).to_pandas()


def _tables(outcomes: Outcomes, dataset: VQADataset, engine: str) -> Iterator[pa.Table]:
    """The rows look by look, the columns in the order of ``FIELDS``."""
    ids, begun = [dataset[row].id for row in range(len(outcomes))], 0
    for (look, branch), hidden in zip(outcomes.branches.items(), _hidden(outcomes), strict=True):
        size = len(ids)
        columns: dict[str, Any] = {"id": ids, "look": [look.label] * size, "engine": [engine] * size}
        columns |= {name: getattr(branch, STORED.get(name, name), None) for name in FIELDS if name not in columns}
        if look is Action.NO:
            columns |= {name: getattr(outcomes.text, name) for name in ("entropy", "margin", "text_tokens")}
        if hidden is not None:
            columns["features_row"] = np.arange(begun, begun + size)
            begun += size
        yield pa.table({name: _column(columns[name], field.type, size) for name, field in FIELDS.items()})


def _column(values: Any, kind: pa.DataType, size: int) -> pa.Array:
    """A column, null where nothing is known."""
    if values is None:
        return pa.nulls(size, kind)
    return pa.array(values, from_pandas=True).cast(kind)  # NaN is null


def _hidden(outcomes: Outcomes) -> Sequence[BlockRows | None]:
    """Hidden states by look, of NO those of the text pass; None where there are none."""

    def of(look: Action, branch: BranchOutcomes) -> BlockRows | None:
        hidden = outcomes.text.hidden if look is Action.NO else branch.hidden
        return hidden if hidden is not None and hidden.width else None

    return [of(look, branch) for look, branch in outcomes.branches.items()]


def _write_features(path: Path, parts: Sequence[BlockRows]) -> None:
    kind = next(parts[0].blocks()).dtype
    shape = (sum(map(len, parts)), parts[0].width)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind.str, "fortran_order": False, "shape": shape})
        for part in parts:
            for block in part.blocks():
                file.write(np.ascontiguousarray(block, dtype=kind).data)
