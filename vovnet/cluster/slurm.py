"""Jobs as an array in Slurm: submitted through submitit, which also requeues them; watched through squeue.

submitit itself would ask sacct, and wait for ever for a killed job where the cluster keeps no accounts.
"""

import logging
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from vovnet.cluster.work import Job
from vovnet.errors import VoVNetError
from vovnet.schema import SlurmLauncher

log = logging.getLogger(__name__)

LOGS = "slurm"  # in the sweep's folder: submitit's files and what the jobs printed
# How often squeue is asked: seldom enough for a controller that serves thousands of jobs.
ASK_FIRST, ASK_LAST = 2.0, 30.0  # seconds, growing with a tenth of the time waited
SETTLE = 5.0  # seconds that a job must be out of the queue: one that is being requeued, or a slow file system
OVER = {
    "BOOT_FAIL": "was lost because its node did not boot",
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended without a word",
    "DEADLINE": "reached its deadline",
    "FAILED": "was killed or could not start",
    "NODE_FAIL": "was lost with its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "was preempted and not requeued",
    "TIMEOUT": "ran into its time limit",
}
GONE = "is no longer known to Slurm"


@dataclass
class SlurmQueue:
    """One array of jobs."""

    launcher: SlurmLauncher
    entry: str
    sweep: Path
    jobs: dict[str, Path] = field(default_factory=dict)  # Slurm's id of a job: its folder
    logs: dict[Path, Path] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    asked: float = 0.0
    states: dict[str, tuple[str, str]] = field(default_factory=dict)  # state and reason
    out: dict[str, float] = field(default_factory=dict)  # since when a job is out of the queue

    def submit(self, folders: Sequence[Path]) -> str:
        """Submit all jobs at once; returns what to call them all.

        Raises:
            VoVNetError: there is no Slurm, or it refuses.
        """
        if shutil.which("sbatch") is None:
            raise VoVNetError(
                "launcher=slurm needs sbatch, which is not on PATH; run this where jobs are submitted, "
                "or with launcher=local."
            )
        executor = SlurmExecutor(self.sweep / LOGS / "%j", max_num_timeout=self.launcher.max_num_timeout)
        with _outside_allocation(), redirect_stderr(StringIO()):  # submitit prints what it raises
            try:
                executor.update_parameters(**sbatch_parameters(self.launcher, self.sweep.name))
                with executor.batch():
                    jobs = [executor.submit(Job(self.entry, str(folder))) for folder in folders]
            except (FailedSubmissionError, UncompletedJobError, ValueError) as error:
                raise VoVNetError(
                    f"sbatch refused the jobs ({_on_one_line(error)}); conf/launcher/slurm.yaml lists the keys."
                ) from error
        for job, folder in zip(jobs, folders, strict=True):
            self.jobs[job.job_id] = folder
            self.logs[folder] = job.paths.stderr
        return f"{len(folders)} jobs, Slurm job {self._id}"

    def over(self) -> Mapping[Path, str]:
        """Jobs that have been out of the queue for a while, each with how and where its log is."""
        self._ask()
        now = time.monotonic()
        for job in self.jobs:
            state, _ = self.states.get(job, (GONE, ""))
            if state in OVER or state == GONE:
                self.out.setdefault(job, now)
            else:
                self.out.pop(job, None)
        settled = [job for job, since in self.out.items() if now - since >= SETTLE]
        return {self.jobs[job]: self._how(job) for job in settled}

    def state(self) -> str:
        """How many jobs are in each state, and why the first of them waits."""
        counts = Counter(state for state, _ in self.states.values() if state not in OVER)
        reasons = [reason for state, reason in self.states.values() if state == "PENDING" and reason != "None"]
        shown = ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items()))
        return f"{shown} ({reasons[0]})" if reasons else shown

    def leave(self) -> str:
        """Leave the jobs alone, since nobody waits for them any more."""
        return f"Slurm job {self._id} goes on (`scancel {self._id}` ends it); once it is over, the same command merges"

    @property
    def _id(self) -> str:
        return next(iter(self.jobs)).partition("_")[0]

    def _how(self, job: str) -> str:
        state, _ = self.states.get(job, (GONE, ""))
        return f"{OVER.get(state, GONE)} (Slurm job {job}); see {self.logs[self.jobs[job]]}"

    def _ask(self) -> None:
        """Ask squeue, if it was not asked just now; what cannot be learned leaves everything as it was."""
        now = time.monotonic()
        if now - self.asked < min(ASK_LAST, max(ASK_FIRST, 0.1 * (now - self.begun))):
            return
        self.asked = now
        command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r", f"--jobs={self._id}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            lines = [line.split("|") for line in done.stdout.splitlines()]
            self.states = {job: (state, reason) for job, state, reason in lines}
        elif "Invalid job id" in done.stderr:  # all are over, and forgotten
            self.states = {}
        else:
            log.warning("squeue does not answer (%s); still waiting", _on_one_line(done.stderr))


def sbatch_parameters(launcher: SlurmLauncher, name: str) -> dict[str, Any]:
    """The launcher's keys as submitit names them."""
    parameters = {
        "job_name": name,
        "partition": launcher.partition,
        "account": launcher.account,
        "qos": launcher.qos,
        "constraint": launcher.constraint,
        "nodes": launcher.nodes,
        "ntasks_per_node": launcher.tasks_per_node,
        "gpus_per_node": launcher.gpus_per_node,
        "cpus_per_task": launcher.cpus_per_task,
        "mem": None if launcher.mem_gb is None else f"{round(launcher.mem_gb * 1024)}M",
        "time": launcher.timeout_min,
        "array_parallelism": launcher.array_parallelism,
        "setup": list(launcher.setup) or None,
        "srun_args": ["--kill-on-bad-exit=1"],  # a task that failed would leave the others waiting for it
        # Without the first, clusters may refuse the requeue that preempted jobs depend on.
        "additional_parameters": {"requeue": True, **launcher.additional_parameters},
    }
    return {key: value for key, value in parameters.items() if value is not None}


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
