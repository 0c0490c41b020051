"""Look into the outcome store, prune it, and move outcomes in and out of it.

python -m experiments.store
python -m experiments.store store.prune=full-3f store.confirm=true
python -m experiments.store store.import_from=FOLDER backbone=imported backbone.name=NAME dataset=mini_mmbench
python -m experiments.store store.export_to=FOLDER dataset=mini_mmbench
python -m experiments.store store.rescore=vlmevalkit dataset=mini_mmbench
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import counted, say

if TYPE_CHECKING:
    from vovnet.outcomes.inspect import TableSummary


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[TableSummary] | None":
    """Do what the ``store`` section asks for; without a task, or after pruning, summarise all tables."""
    from vovnet.outcomes.inspect import prune, summarise

    if config.store is None:
        raise VoVNetError("this configuration has no store section; start from the root config `store`.")
    root, asked, session = Path(config.paths.store), config.store, session or Session()
    if asked.import_from is not None:
        _import(config, session)
    elif asked.export_to is not None:
        _export(config, Path(asked.export_to).expanduser(), session)
    elif asked.rescore is not None:
        _rescore(config, asked.rescore, folder, session)
    elif asked.prune is not None:
        removed = prune(root, asked.prune, asked.confirm)
        verb = "deleted" if asked.confirm else "would delete (store.confirm=true does it)"
        for table in removed:
            say(f"{verb}: {table.id}, {counted(table.rows, 'row')}, {table.bytes / 2**20:.1f} MB")
    return summarise(root) if (asked.import_from, asked.export_to, asked.rescore) == (None, None, None) else None


def _import(config: RunConfig, session: Session) -> None:
    from vovnet.outcomes.transfer import import_from

    assert config.store is not None
    done = import_from(config, config.store, session)
    where = f"{config.dataset.name}/{config.eval.split}"
    for look, count in done.counts.items():
        said = ", ".join(done.columns[look]) + (" (was there already)" if look in done.kept else "")
        say(f"{where}, {look}: {counted(count, 'row')} of {done.engine} with {said}")
    if done.left_out:
        say(f"{counted(done.left_out, 'row')} of further questions left out (eval.max_samples)")
    whose = f"given by {done.engine}" if done.scores == "given" else "by this program's scorer"
    say(f"scores: {whose}; cost 1 is {done.max_vision_tokens} vision tokens (store.max_vision_tokens)")
    say(f"use them by backbone=imported backbone.name={done.name} dataset={config.dataset.name}")


def _export(config: RunConfig, folder: Path, session: Session) -> None:
    from vovnet.outcomes.transfer import export_to

    rows = export_to(config, folder, session)
    say(f"{counted(rows, 'row')} of {config.dataset.name}/{config.eval.split}: {folder}")


def _rescore(config: RunConfig, rule: str, folder: Path, session: Session) -> None:
    from vovnet.outcomes.rescore import rescore
    from vovnet.outcomes.transfer import present
    from vovnet.report.table import print_rescored
    from vovnet.results.collected import write_rescored

    found = rescore(present(config, session), rule)
    print_rescored(found)
    for path in write_rescored(folder, found):
        say(f"outputs: {path}")


def show(tables: "list[TableSummary] | None", folder: Path) -> None:
    """Print one line per table."""
    if tables is None:
        return
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
