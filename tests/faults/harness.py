"""Disturbing commands: starting them warm, killing them, and what has to be the same in the end."""

import csv
import json
import os
import re
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from tests.commands import WARM
from tests.faults.work import Fault, Strike, command
from vovnet.outcomes.parts import PART

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ORPHANS = 20.0  # seconds in which a command's own processes end after it
PAUSE = 0.5  # seconds between SIGSTOP and SIGCONT
LIMIT = 300.0  # seconds that a command may take on a busy machine
TIMES = re.compile(  # keys of summary.json and columns of tables: not the same after a kill
    r"wall_seconds|rows_computed|metadata|latency_.*_ms|prepare_p50_ms|mem_peak_mb|process_peak_mb|seconds"
)
PASSING = re.compile(
    r"/(\.hydra|log(-after-[^/]*)?|steps|claims)/|/(job\.json|sweep\.json|[^/]*\.log|[^/]*\.lock)$|/outcomes/"
)


@dataclass(frozen=True)
class Job:
    """A command to disturb.

    Attributes:
        prepared: a folder that the runs' folder begins as a copy of; None: it begins empty.
        draws: whether its figures are drawn for real.
    """

    entry: str
    arguments: tuple[str, ...]
    prepared: Path | None = None
    draws: bool = False

    def reset(self, runs: Path) -> None:
        """Bring the runs' folder back to how it begins."""
        if runs.exists() and not runs.is_mount():
            shutil.rmtree(runs)
        runs.mkdir(parents=True, exist_ok=True)
        if self.prepared is not None:
            shutil.copytree(self.prepared, runs, dirs_exist_ok=True)

    def start(self, runs: Path, fault: Fault | None = None) -> BaseProcess:
        """Start it."""
        arguments = [*self.arguments, f"paths.runs={runs}"]
        process = WARM.Process(target=command, args=(self.entry, arguments, log_of(runs), self.draws, fault))
        process.start()
        return process

    def run(self, runs: Path, fault: Fault | None = None) -> int | None:
        """Run it to its end; returns its exit status."""
        process = self.start(runs, fault)
        process.join(LIMIT)
        return process.exitcode

    def finish(self, runs: Path) -> float:
        """Run it to a good end; returns the seconds that took."""
        process = self.start(runs)
        begun = time.monotonic()  # the first start waits until the fork server is warm
        process.join(LIMIT)
        assert process.exitcode == 0, f"{process.exitcode}: {printed(runs)}"
        return time.monotonic() - begun

    def disturb(self, runs: Path, number: signal.Signals, after: float) -> bool:
        """Start it and send a signal some seconds later; False if it was done by then."""
        process = self.start(runs)
        process.join(after)
        if process.exitcode is not None:
            assert process.exitcode == 0, printed(runs)
            return False
        started = descendants(process.pid or 0)
        os.kill(process.pid or 0, number)
        if number == signal.SIGSTOP:
            time.sleep(PAUSE)
            os.kill(process.pid or 0, signal.SIGCONT)
        process.join(LIMIT)
        assert process.exitcode is not None, f"{number.name} did not end it"
        assert number != signal.SIGSTOP or process.exitcode == 0, printed(runs)
        deadline = time.monotonic() + ORPHANS
        while left := [child for child in started if Path(f"/proc/{child}").exists()]:
            assert time.monotonic() < deadline, f"{number.name} left the processes {left}"
            time.sleep(0.1)
        return True

    def strike(self, runs: Path, strike: Strike) -> bool:
        """Start it with a trap; False if it never came to the place."""
        status = self.run(runs, strike)
        assert status in (0, -signal.SIGKILL), printed(runs)
        return status != 0


def descendants(process: int) -> list[int]:
    """Processes that a process has started, and those that these have."""
    found: list[int] = []
    with suppress(OSError):  # it ends meanwhile
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def log_of(runs: Path) -> Path:
    """Where a command's output goes."""
    return runs.with_name(f"{runs.name}.log")


def printed(runs: Path) -> str:
    """What the last command printed."""
    return log_of(runs).read_text()


def moments(rng: Random, duration: float) -> tuple[signal.Signals, float]:
    """A signal, and when it comes."""
    return rng.choice(SIGNALS), rng.uniform(0.0, duration)


def final(runs: Path) -> dict[str, Any]:
    """Every file that a finished run leaves, by its place; times and what had to be computed are left out."""
    files = [p for p in sorted(runs.rglob("*")) if p.is_file() and not PASSING.search(f"/{p.relative_to(runs)}")]
    return {str(p.relative_to(runs)): _timeless(p) for p in files} | stored(runs / "outcomes")


def _timeless(path: Path) -> Any:
    if path.name == "summary.json":
        return _without_times(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return _without_times([*csv.DictReader(file)])
    return path.read_bytes()


def _without_times(value: Any) -> Any:
    """Plain values without what depends on the moment."""
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if not TIMES.fullmatch(key)}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def stored(store: Path) -> dict[str, pa.Table]:
    """The store's tables with their rows in order, without wall times."""
    tables = {}
    for folder in sorted(store.glob("*-*/")):
        pieces = [pa.ipc.open_file(pa.memory_map(str(p))).read_all() for p in sorted(folder.glob("*.arrow"))]
        if pieces:
            table = pa.concat_tables(pieces).combine_chunks()
            tables[folder.name] = table.drop_columns([n for n in table.column_names if n == "seconds"])
    return tables


def parts(store: Path) -> dict[str, list[str]]:
    """Finished parts of every table."""
    return {f.name: sorted(p.name for p in f.iterdir() if PART.match(p.name)) for f in sorted(store.glob("*-*/"))}


def rows_held(store: Path) -> int:
    """Rows of finished parts, all tables together; parts do not overlap where one job collects."""
    names = [PART.match(name) for found in parts(store).values() for name in found]
    return sum(int(m[2]) - int(m[1]) for m in names if m)


def leftovers(runs: Path) -> list[Path]:
    """What a killed writer leaves."""
    return [p for p in runs.rglob(".*") if p.name.endswith((".tmp", ".partial"))]


def on_disk(folder: Path) -> int:
    """Bytes of a folder on a disk of pages."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())
