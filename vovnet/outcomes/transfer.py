"""Outcomes in and out of the store of a configuration: what ``experiments.store`` and Python programs call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.actions import USUAL, Action
from vovnet.data import VQADataset, load_dataset
from vovnet.errors import VoVNetError
from vovnet.files import atomic_write
from vovnet.outcomes.foreign import FEATURES, FIELDS, Foreign
from vovnet.outcomes.foreign_files import read_folder
from vovnet.outcomes.imports import Report, import_rows
from vovnet.outcomes.keys import imported_rows, nll_key, state_key, table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, Outcomes
from vovnet.outcomes.store import TEXT, OutcomeStore, Table
from vovnet.outcomes.tables import Tables
from vovnet.schema import RunConfig, StoreConfig
from vovnet.session import Session
from vovnet.terminal import counted
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.imported import FOLDER, IMPORT

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


@dataclass(frozen=True)
class Present:
    """What the store holds of a configuration's backbone and split.

    Attributes:
        outcomes: of the looks whose rows are complete.
        tables: of them, by the look's label.
    """

    dataset: VQADataset
    engine: str
    outcomes: Outcomes
    tables: Mapping[str, Table]


def import_from(config: RunConfig, store: StoreConfig, session: Session, rows: Foreign | None = None) -> Report:
    """Import rows as the configured backbone, which must be an imported one.

    Args:
        rows: None reads the folder ``store.import_from``.

    Raises:
        VoVNetError: names the row, or the key.
    """
    place = None if config.backbone.path is None else Path(config.backbone.path).expanduser()
    if place is None or place.parent != Path(config.paths.store).expanduser() / FOLDER or place.name == "unnamed":
        raise VoVNetError(f"rows are imported under a name, by which they are found; say it: {IMPORT}.")
    if rows is None:
        assert store.import_from is not None
        rows = read_folder(Path(store.import_from).expanduser())
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    return import_rows(rows, dataset, place, count, store.engine, store.scores, store.max_vision_tokens)


def export_to(config: RunConfig, folder: Path, session: Session) -> int:
    """Export what the store holds of the configured backbone and split; the number of rows."""
    found = present(config, session)
    return export_rows(found.outcomes, found.dataset, found.engine, folder)


def present(config: RunConfig, session: Session) -> Present:
    """The looks that the store holds of NO, COARSE, FULL and the configured menu.

    Raises:
        VoVNetError: it holds none.
    """
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    imported = imported_rows(checkpoint, dataset)
    if imported is not None:
        count = min(count, imported.record.get("count", 0))
    store, looks = OutcomeStore(config.paths.store), tuple(dict.fromkeys((*USUAL, *config.menu)))
    keys = table_keys(config, checkpoint, dataset, looks_of(config, looks))
    whole = {name: table for name, key in keys.items() if not (table := store.table(key)).missing((0, count))}
    looks = tuple(look for look in looks if look.label in whole)
    if not looks or not count:
        raise VoVNetError(
            f"the store {config.paths.store} holds no complete look of this backbone at {dataset.name}/{dataset.split} "
            f"({counted(count, 'question')}); collect or import them first, or set eval.max_samples."
        )
    tables = _complete(Tables.of(store, {n: t.key for n, t in whole.items()}, dataset, TEXT in whole), count)
    tables.judge(dataset, count)
    outcomes = tables.outcomes(looks, count, session)
    if TEXT not in whole:
        unknown = np.full(count, np.nan, dtype=np.float32)
        outcomes = replace(outcomes, text=replace(outcomes.text, text_tokens=unknown))
    return Present(dataset, checkpoint.engine or f"vovnet {version('vovnet')}", outcomes, whole)


def _complete(tables: Tables, count: int) -> Tables:
    """The same with the NLL and the states that are there."""
    looks = {name: table for name, table in tables.answers.items() if name != TEXT}
    nll = {name: table.inner(nll_key(table.key)) for name, table in looks.items()}
    states = {name: table.inner(state_key(table.key)) for name, table in looks.items()}
    nll, states = ({n: t for n, t in of.items() if not t.missing((0, count))} for of in (nll, states))
    return replace(tables, nll=nll, states=states)
