"""Look into the outcome store, and prune it.

python -m experiments.store
python -m experiments.store store.prune=full-3f store.confirm=true
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import say

if TYPE_CHECKING:
    from vovnet.outcomes.inspect import TableSummary


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[TableSummary]":
    """Summarise all tables; delete those that ``store.prune`` names, if confirmed."""
    from vovnet.outcomes.inspect import prune, summarise

    if config.store is None:
        raise VoVNetError("this configuration has no store section; start from the root config `store`.")
    root = Path(config.paths.store)
    if config.store.prune is not None:
        removed = prune(root, config.store.prune, config.store.confirm)
        verb = "deleted" if config.store.confirm else "would delete (store.confirm=true does it)"
        for table in removed:
            say(f"{verb}: {table.id}, {table.rows} rows, {table.bytes / 2**20:.1f} MB")
    return summarise(root)


def show(tables: "list[TableSummary]", folder: Path) -> None:
    """Print one line per table."""
    if not tables:
        say("this store holds no outcomes yet; python -m experiments.eval collects some")
        return
    from vovnet.report.table import print_store

    print_store(tables)


finish = None  # it is not swept


def main() -> None:
    """Console entry point."""
    launch("store", run, show, finish)


if __name__ == "__main__":
    main()
