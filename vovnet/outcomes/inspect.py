"""What the outcome store holds, and deleting from it."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.outcomes.parts import PART
from vovnet.outcomes.store import CLAIMS, FORMAT, read_description
from vovnet.outcomes.units import LATENCY

TABLE = re.compile(r"^[a-z0-9_]+-[0-9a-f]{16}$")  # folder name of a table


@dataclass(frozen=True)
class TableSummary:
    """One table of the store.

    Attributes:
        id: its folder in the store; scores are in the folder of the answers that they judge, policies' values in that
            of the text pass.
        rows: distinct rows in finished parts.
        bytes: on disk, damaged parts included.
        facts: the table's key in the clear; empty where its description is missing or damaged.
        format: of which it says to be; other versions' tables are never read.
    """

    id: str
    branch: str
    rows: int
    bytes: int
    damaged: int
    facts: dict[str, Any]
    format: int = FORMAT


def summarise(root: Path) -> list[TableSummary]:
    """All tables of a store, by data set and branch, each with those inside behind it: scores, or values.

    Raises:
        VoVNetError: there is no store.
    """
    if not root.is_dir():
        raise VoVNetError(f"paths.store={root} is not there; name the store, or collect outcomes into it first.")
    tables = [_summary(path, root) for path in root.glob("*-*/") if TABLE.match(path.name)]
    if not tables and not (root / CLAIMS).is_dir() and any(path.name != LATENCY for path in root.iterdir()):
        raise VoVNetError(f"paths.store={root} holds something else than outcomes; name the store.")
    tables.sort(key=lambda t: (json.dumps(t.facts.get("dataset"), sort_keys=True), t.branch, t.id))
    return [one for table in tables for one in (table, *_inner(root, table))]


def _inner(root: Path, table: TableSummary) -> list[TableSummary]:
    return [_summary(path, root) for path in sorted((root / table.id).glob("*-*/")) if TABLE.match(path.name)]


def may_hold(root: Path, backbone: str, dataset: str) -> bool:
    """Whether a store may hold rows of a backbone and a data set, by their fingerprints; opens neither of them.

    A table that does not say what it is of may be of anything.
    """
    for path in root.glob("*-*/"):
        if TABLE.match(path.name):
            facts = (read_description(path) or {}).get("facts")
            try:
                if facts is None or (facts["backbone"]["fingerprint"], facts["dataset"]["fingerprint"]) == (
                    backbone,
                    dataset,
                ):
                    return True
            except (LookupError, TypeError):
                return True
    return False


def prune(root: Path, prefix: str, confirm: bool) -> list[TableSummary]:
    """Tables whose id or whose own folder's name starts with ``prefix``, and those inside; deleted when confirmed.

    Raises:
        VoVNetError: no table is called so.
    """
    chosen = [t for t in summarise(root) if t.id.startswith(prefix) or Path(t.id).name.startswith(prefix)]
    if not prefix or not chosen:
        raise VoVNetError(f"no table in {root} has an id that starts with {prefix!r}; list them without store.prune.")
    if confirm:
        for table in chosen:
            if (root / table.id).is_dir():  # not gone with the answers around it
                shutil.rmtree(root / table.id)
    return chosen


def _summary(folder: Path, root: Path) -> TableSummary:
    described = read_description(folder) or {}
    rows, cursor = 0, 0
    for span in sorted((int(m[1]), int(m[2])) for path in folder.iterdir() if (m := PART.match(path.name))):
        rows += max(0, span[1] - max(span[0], cursor))
        cursor = max(cursor, span[1])
    files = [path for path in folder.iterdir() if path.suffix in (".arrow", ".damaged", ".json")]
    return TableSummary(
        id=folder.relative_to(root).as_posix(),
        branch=folder.name.rpartition("-")[0],
        rows=rows,
        bytes=sum(path.stat().st_size for path in files),
        damaged=sum(path.suffix == ".damaged" for path in files),
        facts=described.get("facts", {}),
        format=described.get("format", FORMAT),
    )
