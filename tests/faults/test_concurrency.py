"""Four processes on one store: no row is lost or doubled, and with locks none is computed twice."""

import errno
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import LIMIT, Job, printed, rows_held, stored
from tests.faults.work import Fault, NoLocks

pytestmark = pytest.mark.slow
PROCESSES, ROWS = 4, 60


def all_at_once(job: Job, places: list[Path], store: list[Path], fault: Fault | None, *others: str) -> Counter[str]:
    """Run a job in as many processes; returns the rows they computed, per branch."""
    processes = []
    for number, (runs, root) in enumerate(zip(places, store, strict=True)):
        job.reset(runs)
        own = others[number % len(others) :][:1] if others else ()
        processes.append(Job(job.entry, (*job.arguments, f"paths.store={root}", *own)).start(runs, fault))
    computed: Counter[str] = Counter()
    for process, runs in zip(processes, places, strict=True):
        process.join(LIMIT)
        assert process.exitcode == 0, printed(runs)
        (summary,) = runs.rglob("summary.json")
        computed.update(json.loads(summary.read_text())["rows_computed"])
    return computed


@pytest.fixture(scope="module")
def small(jobs: dict[str, Job]) -> Job:
    """A collection in many parts, so that all have something to do."""
    return Job("collect", (*jobs["collect"].arguments, "eval.chunk_rows=4", "eval.batch_size=4"))


@pytest.fixture(scope="module")
def alone(small: Job, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What one process stores."""
    runs = tmp_path_factory.mktemp("alone") / "runs"
    small.reset(runs)
    small.finish(runs)
    return stored(runs / "outcomes")


def test_the_same_rows_are_computed_once(small: Job, alone: dict, tmp_path: Path) -> None:
    places, store = [tmp_path / str(n) for n in range(PROCESSES)], tmp_path / "store"
    computed = all_at_once(small, places, [store] * PROCESSES, None)
    assert computed == dict.fromkeys(("text", "no", "coarse", "full"), ROWS)
    assert stored(store) == alone
    assert rows_held(store) == 4 * ROWS


def test_different_keys_do_not_meet(small: Job, alone: dict, tmp_path: Path) -> None:
    places, store = [tmp_path / str(n) for n in range(PROCESSES)], tmp_path / "store"
    keys = ("eval.max_new_tokens=3", "eval.max_new_tokens=2")
    computed = all_at_once(small, places, [store] * PROCESSES, None, *keys)
    assert {name: rows for name, rows in computed.items() if name != "text"} == dict.fromkeys(
        ("no", "coarse", "full"), 2 * ROWS
    )
    found = stored(store)
    assert len(found) == 7  # one of the text pass, which no decoding changes
    assert {name: found[name] for name in alone} == alone


def test_without_locks_rows_are_right_and_it_is_said_once(small: Job, alone: dict, tmp_path: Path) -> None:
    places, store = [tmp_path / str(n) for n in range(PROCESSES)], tmp_path / "store"
    computed = all_at_once(small, places, [store] * PROCESSES, NoLocks(errno.ENOSYS))
    assert all(rows >= ROWS for rows in computed.values())
    again = tmp_path / "again"
    small.reset(again)
    reader = Job("eval", (*small.arguments, "policy/baseline=always_full", f"paths.store={store}"))
    reader.finish(again)
    assert distinct(store) == distinct_of(alone)
    for runs in places:
        if "collecting" in printed(runs):
            assert printed(runs).count("no file locks in") == 1


def distinct(store: Path) -> dict[str, list]:
    """Rows of every table, each once, in order: parts overlap where two have computed the same."""
    return distinct_of(stored(store))


def distinct_of(tables: dict) -> dict[str, list]:
    return {
        name: sorted({json.dumps(row, sort_keys=True) for row in table.to_pylist()}) for name, table in tables.items()
    }


@pytest.fixture
def two_mounts(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """One folder at two places, as two nodes mount it."""
    if os.geteuid() != 0:
        pytest.skip("a bind mount needs root")
    one, other = tmp_path / "store", tmp_path / "mounted"
    one.mkdir()
    other.mkdir()
    done = subprocess.run(["mount", "--bind", str(one), str(other)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")
    yield one, other
    subprocess.run(["umount", str(other)], check=True)


@pytest.mark.parametrize("fault", [None, NoLocks(errno.ENOLCK)], ids=["locks", "no locks"])
def test_two_mounts_of_one_store(
    small: Job, alone: dict, tmp_path: Path, two_mounts: tuple[Path, Path], fault: Fault | None
) -> None:
    places = [tmp_path / str(n) for n in range(4)]
    computed = all_at_once(small, places, [*two_mounts] * 2, fault)
    assert all(rows >= ROWS for rows in computed.values())
    if fault is None:
        assert computed == dict.fromkeys(("text", "no", "coarse", "full"), ROWS)
    assert distinct(two_mounts[0]) == distinct_of(alone)
