"""Rows of another engine into the outcome store, where policies find them as ``backbone=imported``.

Each name is a folder in the store with a config.json: the engine, the unit of costs, and which rows there are. The
rows themselves are tables like any other's. What a name holds never changes, since trained policies and results are
known by it: further looks and splits may join, other rows of the same look need another name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_json
from vovnet.locks import Claim
from vovnet.outcomes.convert import column
from vovnet.outcomes.foreign import FEATURES, Foreign
from vovnet.outcomes.imported_tables import Taken, in_parts, write_look
from vovnet.outcomes.keys import Imported, rows_name
from vovnet.outcomes.store import OutcomeStore
from vovnet.terminal import counted
from vovnet.vlm.imported import IMPORTED, open_imported


@dataclass(frozen=True)
class Report:
    """What an import has done.

    Attributes:
        counts: rows by look; ``left_out``: rows of further questions; ``kept``: looks that were there already.
        scores: whose they are: ``given`` or ``own``.
        columns: what is given, by look.
    """

    name: str
    engine: str
    counts: Mapping[str, int]
    kept: tuple[str, ...]
    left_out: int
    scores: str
    columns: Mapping[str, tuple[str, ...]]
    max_vision_tokens: int


def import_rows(
    rows: Foreign,
    dataset: VQADataset,
    folder: Path,
    count: int,
    engine: str | None = None,
    scores: Literal["auto", "given", "own"] = "auto",
    max_vision_tokens: int | None = None,
) -> Report:
    """Write rows into a store.

    Args:
        folder: of the imported backbone, ``STORE/imported/NAME``.
        count: questions of the split, from its first, that must have rows.
        engine: what made the rows; None takes their column.
        scores: ``given``: the rows'; ``own``: the data set's scorer judges; ``auto``: given where there are some.
        max_vision_tokens: of a maximal FULL image, the unit of costs; None takes the largest of these rows, for an
            image, where the name is new.

    Raises:
        VoVNetError: names the row, or what the name holds already.
    """
    engine = _engine(rows, engine)
    given = _whose(rows, scores)
    looks, left_out = _by_look(rows, dataset, count)
    store = OutcomeStore(folder.parent.parent)
    folder.mkdir(parents=True, exist_ok=True)
    with Claim(folder / ".lock"):
        card = _card(folder, engine, max_vision_tokens, looks, dataset)
        record = card["rows"].setdefault(rows_name(dataset), {"count": count, "scores": given, "looks": {}})
        _refuse_other(folder.name, dataset, record, looks, count, given)
        known = {one.look for one in looks} & record["looks"].keys()
        fingerprint = open_imported(folder, card)
        for one in looks:
            record["looks"][one.look] = {"content": one.content, "columns": list(one.table.column_names)}
            if one.features is not None:
                card["width"] = int(one.features.shape[1])
            found = Imported(folder.name, engine, fingerprint, record)
            write_look(store, found, dataset, one)
        write_json(folder / "config.json", card)  # last: what it names is there
    return Report(
        name=folder.name,
        engine=engine,
        counts={one.look: count for one in looks},
        kept=tuple(sorted(known)),
        left_out=left_out,
        scores=given,
        columns={one.look: tuple(one.table.column_names) for one in looks},
        max_vision_tokens=card["max_vision_tokens"],
    )


def _engine(rows: Foreign, said: str | None) -> str:
    if said is None and "engine" in rows.table.column_names:
        found = rows.table["engine"].unique().to_pylist()
        if len(found) > 1 or not found[0]:
            raise VoVNetError(
                f"{rows.sources[0][1].name} names the engines {found[:3]}; import the rows of each under a name of "
                "its own."
            )
        said = str(found[0])
    if not said or not said.strip():
        raise VoVNetError("say what has made these rows, by store.engine='vLLM 0.11' or a column engine.")
    return "vovnet, imported" if said.strip() == "vovnet" else said.strip()  # whose model is not at hand either


def _whose(rows: Foreign, asked: str) -> str:
    has = "score" in rows.table.column_names and rows.table["score"].null_count < len(rows.table)
    if asked == "given" and not has:
        raise VoVNetError(f"{rows.sources[0][1].name} has no column score; set store.scores=own or add it.")
    return "given" if has and asked != "own" else "own"


def _by_look(rows: Foreign, dataset: VQADataset, count: int) -> tuple[list[Taken], int]:
    """The rows of each look by the place of their questions, and how many are of further questions.

    Raises:
        VoVNetError: an id is unknown, doubled or missing.
    """
    table, ids = rows.table, pa.array([dataset[row].id for row in range(len(dataset))], pa.string())
    places = pc.index_in(table["id"], ids)
    if places.null_count:
        row = int(pc.index(places.is_null(), True).as_py())
        said = str(table["id"][row].as_py())[:60]
        rows.refuse(row, f"there is no question {said!r} in {dataset.name}/{dataset.split}; take its ids, or its split")
    place_of = np.asarray(places.combine_chunks(), dtype=np.int64)
    found = []
    for label in sorted(pc.unique(table["look"]).to_pylist()):
        own = np.flatnonzero(np.asarray(pc.equal(table["look"], label)))
        order = own[np.argsort(place_of[own], kind="stable")]
        sorted_places = place_of[order]
        if len(twice := np.flatnonzero(sorted_places[1:] == sorted_places[:-1])):
            row = int(order[twice[0] + 1])
            rows.refuse(row, f"{label} of {table['id'][row].as_py()!r} is here for the second time; leave one out")
        within = order[sorted_places < count]
        if len(within) < count:
            lacking = np.setdiff1d(np.arange(count), sorted_places)
            raise VoVNetError(
                f"{len(lacking)} of {counted(count, 'question')} have no row of the look {label}, the first of them "
                f"{dataset[int(lacking[0])].id!r}; add them, or set eval.max_samples to take the first questions only."
            )
        found.append(_taken(rows, label, within))
    return found, len(table) - count * len(found)


def _taken(rows: Foreign, label: str, places: np.ndarray) -> Taken:
    """The rows of a look without what is not given for it.

    Raises:
        VoVNetError: some rows of it lack what others have.
    """
    table = rows.table.take(pa.array(places)).drop_columns(
        ["id", "look", *(["engine"] if "engine" in rows.table.column_names else [])]
    )
    for name in table.column_names:
        missing = table[name].null_count
        if missing == len(table) and name != "answer":
            table = table.drop_columns([name])
        elif missing and name != "answer":
            row = int(places[int(pc.index(table[name].is_null(), True).as_py())])
            rows.refuse(
                row, f"it has no {name}, which other rows of the look {label} have; fill it in, or drop it there"
            )
    table, features = table.combine_chunks(), None
    if "features_row" in table.column_names:
        features = rows.features
    content = hashlib.sha256()
    for name in sorted(table.column_names):
        content.update(name.encode() + b"\0")
        values = column(table[name])
        content.update(json.dumps(values.tolist()).encode() if values.dtype == object else values.tobytes())
    if features is not None:
        for first, chosen in in_parts(column(table["features_row"]), features):
            block = np.asarray(features[chosen])
            if not np.isfinite(block).all():
                row = int(places[first + int(np.flatnonzero(~np.isfinite(block).all(1))[0])])
                rows.refuse(row, f"its hidden state in {FEATURES} is NaN or infinite; write it again")
            content.update(block.tobytes())
    return Taken(label, table, content.hexdigest(), features)


def _card(folder: Path, engine: str, most: int | None, looks: list[Taken], dataset: VQADataset) -> dict[str, Any]:
    """config.json as it is, or that of a new name.

    Raises:
        VoVNetError: the name is another engine's, or has another unit of costs.
    """
    try:
        card = read_object(folder / "config.json")
    except FileNotFoundError:
        return {
            "model_type": IMPORTED,
            "name": folder.name,
            "engine": engine,
            "max_vision_tokens": most or _largest(looks, dataset),
            "rows": {},
        }
    except ValueError as error:
        raise VoVNetError(f"{folder / 'config.json'} is damaged ({error}); choose another backbone.name.") from error
    open_imported(folder, card)
    for key, known, asked in (
        ("engine", card["engine"], engine),
        ("max_vision_tokens", card["max_vision_tokens"], most),
    ):
        if asked is not None and known != asked:
            raise VoVNetError(
                f"backbone.name={folder.name} holds rows with {key}={known}, these have {key}={asked}; import them "
                "under another backbone.name."
            )
    return card


def _largest(looks: list[Taken], dataset: VQADataset) -> int:
    """The most vision tokens that one image takes.

    Raises:
        VoVNetError: no row shows an image.
    """
    images = np.array([max(1, len(dataset[row].images)) for row in range(len(looks[0].table))])
    most = max(int(np.ceil(column(one.table["vision_tokens"]) / images).max()) for one in looks)
    if most < 1:
        raise VoVNetError("no row has vision tokens, so that costs have no unit; set store.max_vision_tokens=NUMBER.")
    return most


def _refuse_other(
    name: str, dataset: VQADataset, record: Mapping[str, Any], looks: list[Taken], count: int, given: str
) -> None:
    """Refuse rows that differ from those that the name holds.

    Raises:
        VoVNetError: they do.
    """
    known = record["looks"]
    other = [one.look for one in looks if known.get(one.look, {}).get("content", one.content) != one.content]
    if known and (record["count"], record["scores"]) != (count, given):
        other = [f"{counted(record['count'], 'question')} with {record['scores']} scores"]
    if other:
        raise VoVNetError(
            f"backbone.name={name} holds other rows of {dataset.name}/{dataset.split} already ({', '.join(other)}), by "
            "which policies and results are known; import these under another backbone.name."
        )
