"""Submitting the prepared jobs of a sweep and waiting until every one has ended, however it ended."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vovnet.cluster.local import LocalPool
from vovnet.cluster.work import RANK_FILE, Prepared, log_lines
from vovnet.errors import VoVNetError
from vovnet.jobs import ENDED, failure, read_record, report_failure, write_record
from vovnet.progress import progress
from vovnet.schema import LauncherConfig, LocalLauncher, SlurmLauncher

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5  # seconds


class NotSubmittedError(VoVNetError):
    """No job of a sweep has begun."""


class Backend(Protocol):
    """Where jobs run."""

    def submit(self, folders: Sequence[Path]) -> str:
        """Submit all jobs; returns what to call them all."""
        ...

    def over(self) -> Mapping[Path, str]:
        """Jobs that no longer run, each with how they ended."""
        ...

    def state(self) -> str:
        """How the others do, for the log."""
        ...

    def leave(self) -> str:
        """Nobody waits any more; returns what becomes of the jobs."""
        ...


def run_jobs(entry: str, jobs: Sequence[Prepared], sweep: Path) -> None:
    """Run the jobs of a sweep; when it returns each has a record that says how it ended.

    Raises:
        NotSubmittedError: there is no such place to run them, or it refuses them.
    """
    log_lines()
    backend = _backend(jobs[0].config.launcher, entry, sweep)
    folders = [job.folder for job in jobs]
    try:
        if any(job.config.launcher != jobs[0].config.launcher for job in jobs):
            raise VoVNetError("the launcher and its keys hold for a whole sweep; give each one value.")
        log.info("submitted %s", backend.submit(folders))
    except VoVNetError as error:
        for folder in folders:
            write_record(folder, read_record(folder) | failure(error))
        raise NotSubmittedError(str(error)) from error
    try:
        _wait(backend, folders)
    except KeyboardInterrupt:
        log.warning("stopped waiting; %s", backend.leave())
        raise


def _backend(launcher: LauncherConfig, entry: str, sweep: Path) -> Backend:
    match launcher:
        case LocalLauncher():
            return LocalPool(launcher, entry)
        case SlurmLauncher():
            from vovnet.cluster.slurm import SlurmQueue  # imports submitit

            return SlurmQueue(launcher, entry, sweep)
        case _:
            raise TypeError(f"{launcher} runs its jobs itself")


def _wait(backend: Backend, folders: Sequence[Path]) -> None:
    waiting, state = list(folders), ""
    with progress("sweep", len(folders), "jobs") as bar:
        while waiting:
            over = backend.over()  # first: what is over has written its record
            for folder in list(waiting):
                record = read_record(folder)
                if record["status"] not in ENDED and folder in over:
                    record = _lost(folder, record, over[folder])
                if record["status"] in ENDED:
                    waiting.remove(folder)
                    bar.advance(1)
                    _report(record)
            if waiting and (new := backend.state()) != state:
                state = new
                log.info("%s", state)
            time.sleep(LOOK_EVERY if waiting else 0)


def _lost(folder: Path, record: dict[str, Any], how: str) -> dict[str, Any]:
    """Record the end of a job that could not do so itself; another of its tasks may know why."""
    ranks = sorted(folder.glob(RANK_FILE.format("*")))
    why = f"{json.loads(ranks[0].read_text(encoding='utf-8'))['error']} ({ranks[0].stem}) " if ranks else ""
    record = record | {"status": "killed", "error": f"{why}the job {how}"}
    write_record(folder, record)
    return record


def _report(record: dict[str, Any]) -> None:
    if record["status"] == "done":
        log.info("job %s done", " ".join(record["overrides"]))
    else:
        report_failure(record, record)
