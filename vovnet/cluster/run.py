"""Submitting the prepared jobs of a sweep and waiting until every one has ended, however it ended."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vovnet.cluster.local import LocalPool
from vovnet.cluster.work import Prepared, log_lines
from vovnet.compose import job_name
from vovnet.errors import VoVNetError
from vovnet.job_config import read_config, write_config
from vovnet.jobs import ARRAY_TASK, ENDED, Record, failure, read_record, report_failure, write_record
from vovnet.progress import progress
from vovnet.rank_errors import left_error
from vovnet.schema import LauncherConfig, LocalLauncher, RunConfig, SlurmLauncher

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5  # seconds


class NotSubmittedError(VoVNetError):
    """No job of a sweep has begun."""


class Backend(Protocol):
    """Where jobs run."""

    def find(self, folders: Sequence[Path]) -> Mapping[Path, Record]:
        """Jobs that an earlier command has submitted and that go on, which are not submitted again; their records."""
        ...

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


def run_jobs(entry: str, jobs: Sequence[Prepared], sweep: Path, submitted: Callable[[], object]) -> None:
    """Run the jobs of a sweep; when it returns each has a record that says how it ended.

    Args:
        submitted: is called when the jobs go on without this command, if they do.

    Raises:
        NotSubmittedError: there is no such place to run them, or it refuses them.
    """
    log_lines()
    launcher, token = jobs[0].config.launcher, str(jobs[0].record["sweep"])
    backend = _backend(launcher, entry, sweep, token)
    unlike = {job.folder: job for job in jobs}  # jobs of one configuration share a folder
    new: list[Prepared] = []
    try:
        if any(job.config.launcher != launcher for job in jobs):
            raise VoVNetError("the launcher and its keys hold for a whole sweep; give each one value.")
        found = backend.find(list(unlike))
        for folder in found:
            if not _does(folder, unlike[folder].config):
                raise VoVNetError(
                    f"{folder} belongs to a Slurm job of another configuration that still waits or runs; end it by "
                    "scancel, or give this sweep another name=NAME."
                )
        new = [job for folder, job in unlike.items() if folder not in found]
        for number, job in enumerate(new):
            write_config(job.config, job.folder)
            write_record(job.folder, {**job.record, ARRAY_TASK: number})
        if new:
            log.info("submitted %s", backend.submit([job.folder for job in new]))
    except VoVNetError as error:
        for job in new:
            write_record(job.folder, {**job.record, **failure(error)})
        raise NotSubmittedError(str(error)) from error
    if isinstance(launcher, SlurmLauncher):
        submitted()
    try:
        _wait(backend, list(unlike), found, token)
    except KeyboardInterrupt:
        log.warning("stopped waiting; %s", backend.leave())
        raise


def _does(folder: Path, config: RunConfig) -> bool:
    """Whether the job that was submitted in a folder computes what a configuration says."""
    try:
        return job_name(read_config(folder)) == job_name(config)
    except VoVNetError:  # it was written by other code
        return False


def _backend(launcher: LauncherConfig, entry: str, sweep: Path, token: str) -> Backend:
    match launcher:
        case LocalLauncher():
            return LocalPool(launcher, entry)
        case SlurmLauncher():
            from vovnet.cluster.slurm import SlurmQueue  # imports submitit

            return SlurmQueue(launcher, entry, sweep, token)
        case _:
            raise TypeError(f"{launcher} runs its jobs itself")


def _wait(backend: Backend, folders: Sequence[Path], found: Mapping[Path, Record], token: str) -> None:
    """Until every job has ended.

    Args:
        found: the records of jobs that an earlier command has submitted.
        token: of the sweep whose command has submitted the others.
    """

    def is_of_now(folder: Path, record: Record) -> bool:
        """Whether it is not what was written of an earlier try."""
        if folder in found:
            return record["status"] == "done" or record != found[folder]
        return bool(record["sweep"] == token)

    waiting, state = list(folders), ""
    with progress("sweep", len(folders), "jobs") as bar:
        while waiting:
            over = backend.over()  # first: what is over has written its record
            for folder in list(waiting):
                record = read_record(folder)
                if record["status"] not in ENDED and folder in over:
                    if record["sweep"] != found.get(folder, {"sweep": token})["sweep"]:
                        log.warning("job %s: another command has submitted it again", " ".join(record["overrides"]))
                        waiting.remove(folder)
                        bar.advance(1)
                        continue
                    record = _lost(folder, record, over[folder])
                if record["status"] in ENDED and (folder in over or is_of_now(folder, record)):
                    waiting.remove(folder)
                    bar.advance(1)
                    _report(record)
            if waiting and (new := backend.state()) != state:
                state = new
                log.info("%s", state)
            time.sleep(LOOK_EVERY if waiting else 0)


def _lost(folder: Path, record: dict[str, Any], how: str) -> dict[str, Any]:
    """Record the end of a job that could not do so itself; another of its tasks may know why."""
    left = left_error(folder)
    why = f"{left['error']} " if left is not None else ""
    record = record | {"status": "killed", "error": f"{why}the job {how}"}
    write_record(folder, record)
    return record


def _report(record: dict[str, Any]) -> None:
    if record["status"] == "done":
        log.info("job %s done", " ".join(record["overrides"]))
    else:
        report_failure(record, record)
