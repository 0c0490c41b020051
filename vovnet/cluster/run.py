"""Running a sweep's jobs elsewhere: in processes of this machine, or by Slurm."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from vovnet.cluster.work import Prepared, log_lines
from vovnet.compose import job_name
from vovnet.errors import VoVNetError
from vovnet.jobs import ARRAY_TASK, ENDED, Record, failure, read_record, report_failure, write_record
from vovnet.rank_errors import left_error
from vovnet.rank_launch import read_config, write_config
from vovnet.ranks import JOBS_AT_ONCE, PARENT, cores
from vovnet.schema import LauncherConfig, LocalLauncher, RunConfig, SlurmLauncher
from vovnet.terminal import counted, progress

log = logging.getLogger(__name__)

LOG_FILE = "output.log"  # in a job's folder: what it printed


@dataclass
class LocalPool:
    """Starts a waiting job whenever one has ended."""

    launcher: LocalLauncher
    entry: str
    waiting: list[Path] = field(default_factory=list)
    running: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)
    slots: dict[Path, int] = field(default_factory=dict)  # which of the jobs that run at once a job is
    ended: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = self.launcher.places()

    def find(self, folders: Sequence[Path]) -> Mapping[Path, Record]:
        """None: the processes of an earlier command have ended with it."""
        return {}

    def submit(self, folders: Sequence[Path]) -> str:
        """Start the first jobs; returns what to call them all."""
        self.waiting += folders
        self._start()
        return f"{counted(len(folders), 'job')}, {len(self.places)} at once"

    def over(self) -> Mapping[Path, str]:
        """Jobs whose process has ended, each with how and where its log is."""
        for folder, process in list(self.running.items()):
            if (status := process.poll()) is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                self.ended[folder] = f"{how}; see {folder / LOG_FILE}"
                del self.running[folder], self.slots[folder]
        self._start()
        return self.ended

    def state(self) -> str:
        """How many wait and run."""
        return f"{len(self.waiting)} waiting, {len(self.running)} running"

    def leave(self) -> str:
        """End the processes, since nobody waits for them any more."""
        self.waiting.clear()
        for process in self.running.values():
            process.terminate()
        return "its jobs were ended"

    def _start(self) -> None:
        while self.waiting and len(self.running) < len(self.places):
            folder = self.waiting.pop(0)
            slot = min(set(range(len(self.places))) - set(self.slots.values()))
            with (folder / LOG_FILE).open("wb") as output:
                self.running[folder] = self._process(folder, slot, output)
            self.slots[folder] = slot

    def _process(self, folder: Path, slot: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vovnet.cluster.work", self.entry, str(folder)]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment(slot))

    def environment(self, slot: int) -> dict[str, str]:
        """Of a job: its device, and its share of the cores, which jobs of as many threads each would fight for."""
        at_once = len(self.places)
        shared = {"OMP_NUM_THREADS": str(max(1, cores() // at_once))} | os.environ
        shared |= {JOBS_AT_ONCE: str(at_once), PARENT: str(os.getpid())}
        device = self.places[slot]
        return shared if device is None else shared | {"CUDA_VISIBLE_DEVICES": device}


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
