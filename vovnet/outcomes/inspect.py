"""What the outcome store holds, and deleting from it."""

import json
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.outcomes.latencies import LATENCY
from vovnet.outcomes.parts import PART
from vovnet.outcomes.store import CLAIMS, FORMAT, read_description
from vovnet.vlm.imported import FOLDER

PRUNED = ".pruned"  # ends the name of a table's folder that is being removed
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
    tables = [_summary(path, root) for path in _tables_in(root)]
    if not tables and not (root / CLAIMS).is_dir() and any(map(_is_foreign, _listed(root))):
        raise VoVNetError(f"paths.store={root} holds something else than outcomes; name the store.")
    tables.sort(key=lambda t: (json.dumps(t.facts.get("dataset"), sort_keys=True), t.branch, t.id))
    return [one for table in tables for one in (table, *_inner(root, table))]


def _is_foreign(path: Path) -> bool:
    """Whether a store without a table has no place for a file.

    Links to nowhere, what is being removed and a table that another process has made meanwhile are none.
    """
    own = path.name in (LATENCY, FOLDER) or path.name.endswith(PRUNED) or TABLE.match(path.name) is not None
    return not own and path.exists()


def _inner(root: Path, table: TableSummary) -> list[TableSummary]:
    return [_summary(path, root) for path in _tables_in(root / table.id)]


def _tables_in(folder: Path) -> list[Path]:
    return sorted(path for path in _listed(folder) if TABLE.match(path.name) and path.is_dir())


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
            _remove(root / table.id)
        for folder in root.glob(f".*{PRUNED}"):  # of a command that was killed in between
            shutil.rmtree(folder, ignore_errors=True)
    return chosen


def _remove(folder: Path) -> None:
    """Remove a table, unless it has gone with the answers around it; who writes into it meanwhile makes it anew."""
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
        return
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}{PRUNED}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)  # a writer may be at its last file; the next command removes that


def _files(folder: Path) -> dict[Path, int]:
    """The files of a table that are there, with their sizes: no link to nowhere, none that is being removed."""
    found = {}
    for path in _listed(folder):
        try:
            if path.is_file():
                found[path] = path.stat().st_size
        except FileNotFoundError:
            continue
    return found


def _listed(folder: Path) -> list[Path]:
    """What a folder holds; nothing where it has gone meanwhile."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _summary(folder: Path, root: Path) -> TableSummary:
    described = read_description(folder) or {}
    rows, cursor, files = 0, 0, _files(folder)
    for span in sorted((int(m[1]), int(m[2])) for path in files if (m := PART.match(path.name))):
        rows += max(0, span[1] - max(span[0], cursor))
        cursor = max(cursor, span[1])
    files = {path: size for path, size in files.items() if path.suffix in (".arrow", ".damaged", ".json")}
    return TableSummary(
        id=folder.relative_to(root).as_posix(),
        branch=folder.name.rpartition("-")[0],
        rows=rows,
        bytes=sum(files.values()),
        damaged=sum(path.suffix == ".damaged" for path in files),
        facts=described.get("facts", {}),
        format=described.get("format", FORMAT),
    )
