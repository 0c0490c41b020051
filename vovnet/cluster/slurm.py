"""Jobs as an array in Slurm: submitted through submitit, which also requeues them; watched through squeue.

submitit itself would ask sacct, and wait for ever for a killed job where the cluster keeps no accounts.
"""

import logging
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from submitit import SlurmExecutor
from submitit.core.utils import FailedSubmissionError, JobPaths, UncompletedJobError

from vovnet.cluster.sbatch import sbatch_parameters
from vovnet.cluster.work import Job
from vovnet.errors import VoVNetError
from vovnet.jobs import ARRAY_TASK, JOB_FILE, Record, read_record
from vovnet.schema import SlurmLauncher
from vovnet.terminal import counted

log = logging.getLogger(__name__)

LOGS = "slurm"  # in the sweep's folder: submitit's files and what the jobs printed
# How often squeue is asked: seldom enough for a controller that serves thousands of jobs.
ASK_FIRST, ASK_LAST = 2.0, 30.0  # seconds, growing with a tenth of the time waited
SETTLE = 5.0  # seconds that a job must be out of the queue: one that is being requeued, or a slow file system
OVER = {
    "BOOT_FAIL": "was lost because its node did not boot",
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended without recording a result",
    "DEADLINE": "reached its deadline",
    "FAILED": "was killed or could not start",
    "NODE_FAIL": "was lost with its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted and not requeued",
    "TIMEOUT": "ran into its time limit",
}
GONE = "is no longer known to Slurm"
# What Slurm itself prints into a job's log when it ends a job for its memory; its state may then be any of the above.
OVER_MEMORY = re.compile(
    r"^(slurmstepd|srun)\S*: error:.*(oom|out of memory|memory limit)", re.IGNORECASE | re.MULTILINE
)
LOG_END = 1 << 16  # bytes of a log that are looked through


@dataclass
class SlurmQueue:
    """The jobs of a sweep: the array that this command submits, and what is left of those of earlier commands.

    An array is named after the folder and the token of its sweep, and a job's record holds the token and the job's
    number in the array before it is submitted. So an array is found again whenever its command was killed.
    """

    launcher: SlurmLauncher
    entry: str
    sweep: Path
    token: str
    settle: float = SETTLE  # these three in seconds
    ask_first: float = ASK_FIRST
    ask_last: float = ASK_LAST
    jobs: dict[str, Path] = field(default_factory=dict)  # Slurm's id of a job: its folder
    logs: dict[Path, Path] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    asked: float = 0.0
    states: dict[str, tuple[str, str]] | None = None  # state and reason; None until squeue has answered once
    out: dict[str, float] = field(default_factory=dict)  # since when a job is out of the queue
    ends: dict[str, str] = field(default_factory=dict)  # how jobs that are out for long enough have ended

    def find(self, folders: Sequence[Path]) -> dict[Path, Record]:
        """Jobs of earlier commands that wait or run, and those already done in an array that does, by their records.

        Raises:
            VoVNetError: there is no Slurm, or squeue does not answer.
        """
        if shutil.which("sbatch") is None:
            raise VoVNetError(
                "launcher=slurm needs sbatch, which is not on PATH; run this where jobs are submitted, "
                "or with launcher=local."
            )
        records = {folder: read_record(folder) for folder in folders if (folder / JOB_FILE).is_file()}
        places = {
            folder: (self._name(str(record.get("sweep"))), str(record[ARRAY_TASK]))
            for folder, record in records.items()
            if ARRAY_TASK in record
        }
        alive = self._alive({name for name, _ in places.values()}) if places else {}
        done: dict[Path, Record] = {}
        for folder, place in places.items():
            job = alive.get(place)
            # A command that was killed right after sbatch has left its jobs nothing to run.
            if job is not None and (paths := JobPaths(self.sweep / LOGS / "%j", job)).submitted_pickle.exists():
                self.jobs[job], self.logs[folder] = folder, paths.stderr
            elif records[folder]["status"] == "done" and place[0] in {name for name, _ in alive}:
                done[folder] = records[folder]
        if self.jobs:
            log.info(
                "Slurm job %s of an earlier start goes on and is waited for (%s waiting or running, %d done); to "
                "submit these jobs anew, end it by `scancel %s` first",
                self._ids(" and "), counted(len(self.jobs), "job"), len(done), self._ids(" "),
            )  # fmt: skip
        return {**done, **{folder: records[folder] for folder in self.logs}}

    def submit(self, folders: Sequence[Path]) -> str:
        """Submit jobs as one array; returns what to call them all.

        Raises:
            VoVNetError: Slurm refuses.
        """
        executor = SlurmExecutor(self.sweep / LOGS / "%j", max_num_timeout=self.launcher.max_num_timeout)
        with _outside_allocation(), redirect_stderr(StringIO()):  # submitit prints what it raises
            try:
                executor.update_parameters(**sbatch_parameters(self.launcher, self._name(self.token)))
                with executor.batch():
                    jobs = [executor.submit(Job(self.entry, str(folder))) for folder in folders]
            except (FailedSubmissionError, UncompletedJobError, ValueError) as error:
                raise VoVNetError(
                    f"sbatch refused the jobs ({_on_one_line(error)}); conf/launcher/slurm.yaml lists the keys."
                ) from error
        for job, folder in zip(jobs, folders, strict=True):
            self.jobs[job.job_id] = folder
            self.logs[folder] = job.paths.stderr
        return f"{counted(len(folders), 'job')}, Slurm job {jobs[0].job_id.partition('_')[0]}"

    def over(self) -> Mapping[Path, str]:
        """Jobs that have been out of the queue for a while, each with how and where its log is."""
        self._ask()
        if self.states is None:
            return {}
        now = time.monotonic()
        for job in self.jobs:
            state, _ = self.states.get(job, (GONE, ""))
            if state in OVER or state == GONE:
                self.out.setdefault(job, now)
            else:
                self.out.pop(job, None)
                self.ends.pop(job, None)
        for job, since in self.out.items():
            if now - since >= self.settle and job not in self.ends:
                self.ends[job] = self._how(job, self.states.get(job, (GONE, ""))[0])
        return {self.jobs[job]: how for job, how in self.ends.items()}

    def state(self) -> str:
        """How many jobs are in each state, and why the first of them waits."""
        states = (self.states or {}).values()
        counts = Counter(state for state, _ in states if state not in OVER)
        reasons = [reason for state, reason in states if state == "PENDING" and reason != "None"]
        shown = ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items()))
        return f"{shown} ({reasons[0]})" if reasons else shown

    def leave(self) -> str:
        """Leave the jobs alone, since nobody waits for them any more."""
        return (
            f"Slurm job {self._ids(' and ')} goes on (`scancel {self._ids(' ')}` ends it); the same command waits for "
            "it again, then merges"
        )

    def _name(self, token: str) -> str:
        return f"{self.sweep.name.replace(',', '_')}-{token[:8]}"  # squeue takes a list of names

    def _ids(self, between: str) -> str:
        return between.join(sorted({job.partition("_")[0] for job in self.jobs}))

    def _how(self, job: str, state: str) -> str:
        log_file, named = self.logs[self.jobs[job]], f"(Slurm job {job})"
        if not log_file.exists():
            if state == "CANCELLED":
                return f"was cancelled before it began {named}"
            how = f"{OVER[state]} {named}" if state in OVER else f"was cancelled before it began, or lost {named}"
            return f"{how}; it left no log: if its node does not see {self.sweep}, set paths.runs to a shared folder"
        if state == "OUT_OF_MEMORY" or OVER_MEMORY.search(_end_of(log_file)):
            return f"{OVER['OUT_OF_MEMORY']} {named}; raise launcher.mem_gb, or see {log_file}"
        return f"{OVER.get(state, GONE)} {named}; see {log_file}"

    def _alive(self, names: Collection[str]) -> dict[tuple[str, str], str]:
        """Slurm's id of each job in arrays of these names that waits or runs, by name and number.

        Waits for jobs that are ending, such as cancelled ones: they may still write their record.

        Raises:
            VoVNetError: squeue does not answer.
        """
        said = False
        while True:
            answer, problem = _squeue(f"--name={','.join(names)}", "--format=%i|%T|%j")
            if problem:
                raise VoVNetError(
                    f"squeue does not answer ({problem}), so it is not known whether jobs of this sweep still run; run "
                    "the same command again when it does."
                )
            found = {job: (state, name) for job, state, name in (line.split("|", 2) for line in answer)}
            ending = sorted(job for job, (state, _) in found.items() if state == "COMPLETING")
            if not ending:
                break
            if not said:
                said = True
                log.info(
                    "waiting for jobs of an earlier start that are ending: %s; if they do not end, try `scancel "
                    "--signal=KILL %s` or ask whoever runs the cluster about their nodes",
                    ", ".join(ending), " ".join(ending),
                )  # fmt: skip
            time.sleep(self.ask_first)
        return {(name, job.partition("_")[2] or "0"): job for job, (state, name) in found.items() if state not in OVER}

    def _ask(self) -> None:
        """Ask squeue, if it was not asked just now; what cannot be learned leaves everything as it was."""
        now = time.monotonic()
        if not self.jobs or now - self.asked < min(self.ask_last, max(self.ask_first, 0.1 * (now - self.begun))):
            return
        self.asked = now
        answer, problem = _squeue(f"--jobs={self._ids(',')}", "--format=%i|%T|%r")
        if not problem:
            self.states = {job: (state, reason) for job, state, reason in (line.split("|", 2) for line in answer)}
        elif "Invalid job id" in problem:  # all are over, and forgotten
            self.states = {}
        else:
            log.warning("squeue does not answer (%s); still waiting", problem)


def _squeue(which: str, columns: str) -> tuple[list[str], str]:
    """Ask squeue for jobs one by one, ended ones too; returns its lines, and why there are none if it fails."""
    command = ["squeue", "--noheader", "--array", "--states=all", which, columns]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.splitlines(), _on_one_line(done.stderr) if done.returncode else ""


def _end_of(log_file: Path) -> str:
    """The last lines of a log."""
    with log_file.open("rb") as content:
        content.seek(max(0, log_file.stat().st_size - LOG_END))
        return content.read().decode(errors="replace")


@contextmanager
def _outside_allocation() -> Iterator[None]:
    """Submit as from a login node: an allocation's own settings would contradict those of the jobs."""
    kept = ("SLURM_CONF", "SLURM_CLUSTERS")
    hidden = {k: v for k, v in os.environ.items() if k.startswith(("SLURM_", "SRUN_")) and k not in kept}
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _on_one_line(message: object) -> str:
    lines = [line.rpartition("error: ")[2].strip() for line in str(message).splitlines()]
    return "; ".join(line for line in lines if line) or "it gives no reason"
