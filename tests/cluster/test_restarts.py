"""A sweep whose waiting command is killed, interrupted or started twice: its jobs are found again, none is left out."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.cluster.test_launchers import launcher, program
from tests.commands import Rank, Started, last_line, start
from tests.conftest import compose_config
from tests.experiments.test_commands import base, rows  # noqa: F401
from vovnet.cluster.run import Backend, NotSubmittedError, _wait, run_jobs
from vovnet.cluster.slurm import SlurmQueue
from vovnet.cluster.work import Prepared
from vovnet.errors import VoVNetError
from vovnet.jobs import read_record, write_record
from vovnet.rank_launch import write_config

LIMIT = 120.0  # seconds
SBATCH = """
number=$(($(cat count 2>/dev/null || echo 6) + 1))
echo $number > count
name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
if [ -z "$last" ]; then echo "$number|RUNNING|$name"; else
for task in $(seq 0 $last); do echo "${number}_$task|RUNNING|$name"; done; fi >> queue
[ -e strike ] && rm strike && kill -9 $PPID
echo Submitted batch job $number
"""


class Slurm:
    """A cluster that only keeps its queue: the test runs its jobs.

    ``queue`` has a line for each job: id, state and name.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.queue = folder, folder / "queue"
        program(folder, "sbatch", f"script=$(realpath $1); cd {folder}; set -- $script\n{SBATCH}")
        program(folder, "srun", "exit 1")
        program(folder, "squeue", f"cat {self.queue} 2>/dev/null; exit 0")

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}"}

    def jobs(self) -> list[list[str]]:
        """Id, state and name of every job."""
        return [line.split("|") for line in self.queue.read_text().splitlines()] if self.queue.exists() else []

    def set(self, state: str) -> None:
        """Bring all jobs into a state."""
        self.queue.write_text("".join(f"{job}|{state}|{name}\n" for job, _, name in self.jobs()))


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def run_job(folder: Path) -> None:
    """What Slurm would start for a job."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    assert Rank([sys.executable, "-m", "vovnet.cluster.work", "eval", str(folder)], environment).wait() == 0


class Sweep:
    """One sweep of two evaluations on a cluster of its own."""

    def __init__(self, base: list[str], tmp_path: Path) -> None:  # noqa: F811
        self.base, self.cluster, self.logs = base, Slurm(tmp_path / "bin"), tmp_path / "logs"
        self.folder = tmp_path / "runs/sweep"
        self.count = 0

    def begin(self, *values: int) -> Started:
        """Start the command that evaluates so many samples."""
        self.count += 1
        counts = ",".join(map(str, values))
        arguments = (*self.base, "policy/baseline=no_vision", f"eval.max_samples={counts}", "name=sweep")
        return start(
            "eval",
            *arguments,
            "launcher=slurm",
            logs=self.logs / str(self.count),
            environment=self.cluster.environment,
        )

    def job(self, value: int) -> Path:
        """Folder of the job that evaluates so many samples."""
        found = [
            path.parent for path in self.folder.glob("*/job.json") if f"eval.max_samples={value}" in path.read_text()
        ]
        return found[0]

    def queued(self, jobs: int) -> bool:
        """Whether so many jobs were submitted, and can run."""
        return len(self.cluster.jobs()) == jobs == len(list(self.folder.glob("slurm/*/*_submitted.pkl")))

    def samples(self) -> set[str]:
        return {row["num_samples"] for row in rows(self.folder / "results.csv")}


@pytest.fixture
def sweep(base: list[str], tmp_path: Path) -> Sweep:  # noqa: F811
    return Sweep(base, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_ended_waits_for_its_jobs_when_it_is_started_again(sweep: Sweep, number: int) -> None:
    first = sweep.begin(4, 8)
    until(lambda: sweep.queued(2))
    until(lambda: "2 running" in first.said())
    os.kill(first.process.pid or 0, number)
    first.process.join()
    run_job(sweep.job(4))  # ends while nobody waits
    again = sweep.begin(4, 8)
    until(lambda: "Slurm job 7 of an earlier start goes on and is waited for" in again.said())
    run_job(sweep.job(8))
    done = again.done(LIMIT)
    assert done.returncode == 0, done.stderr
    assert sweep.samples() == {"4", "8"}
    assert sweep.queued(2), "a job was submitted twice"
    assert json.loads((sweep.folder / "summary.json").read_text())["failed"] == 0


@pytest.mark.slow
def test_a_command_that_is_killed_in_sbatch_submits_again_what_cannot_run(sweep: Sweep) -> None:
    (sweep.cluster.folder / "strike").touch()
    assert sweep.begin(4, 8).done(LIMIT).returncode == -signal.SIGKILL
    assert len(sweep.cluster.jobs()) == 2
    again = sweep.begin(4, 8)
    until(lambda: "submitted 2 jobs, Slurm job 8" in again.said())
    run_job(sweep.job(4))
    run_job(sweep.job(8))
    assert again.done(LIMIT).returncode == 0
    assert sweep.samples() == {"4", "8"}


@pytest.mark.slow
def test_a_sweep_of_other_values_takes_over_the_jobs_that_it_shares(sweep: Sweep) -> None:
    """While the first command still waits: that one leaves the tables to the newer one."""
    first = sweep.begin(4, 8)
    until(lambda: sweep.queued(2))
    other = sweep.begin(8, 12)
    until(lambda: sweep.queued(3))
    for value in (4, 8, 12):
        run_job(sweep.job(value))
    done = other.done(LIMIT)
    assert done.returncode == 0, done.stderr
    assert sweep.samples() == {"8", "12"}
    assert first.done(LIMIT).returncode == 1
    assert "the same sweep was begun again meanwhile" in last_line(first.done())
    assert sweep.samples() == {"8", "12"}


@pytest.mark.slow
@pytest.mark.parametrize("launched", [("hydra.mode=MULTIRUN",)])
def test_two_commands_of_one_sweep_run_one_after_the_other(
    base: list[str],  # noqa: F811
    tmp_path: Path,
    launched: tuple[str, ...],
) -> None:
    """Where the jobs are this machine's own; one that was killed keeps nobody waiting."""
    sweep = (*base, "policy/baseline=no_vision", "eval.max_samples=4,8", "name=sweep", *launched)
    lost, *both = (start("eval", *sweep, logs=tmp_path / f"logs/{number}") for number in range(3))
    until(lambda: (tmp_path / "runs/sweep/sweep.json").exists())
    os.kill(lost.process.pid or 0, signal.SIGKILL)
    for command in both:
        done = command.done(LIMIT)
        assert done.returncode == 0, done.stderr
    assert "another command runs a sweep in" in both[0].said() + both[1].said()
    assert {row["num_samples"] for row in rows(tmp_path / "runs/sweep/results.csv")} == {"4", "8"}
    assert {read_record(path.parent)["status"] for path in tmp_path.glob("runs/sweep/*/job.json")} == {"done"}


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SlurmQueue]:
    """The queue of a command that is started again, and what squeue answers it."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, "sbatch", "exit 1")

    def make(answer: str) -> SlurmQueue:
        program(tmp_path, "squeue", answer)
        return SlurmQueue(launcher(), "eval", tmp_path / "sweep", "new", ask_first=0.0)

    return make


def submitted(tmp_path: Path, status: str, task: int, job: str, token: str = "old") -> Path:
    """A job of the sweep of an earlier command."""
    folder, pickle = tmp_path / f"sweep/{task}", tmp_path / f"sweep/slurm/{job}/{job}_submitted.pkl"
    pickle.parent.mkdir(parents=True)
    pickle.touch()
    folder.mkdir()
    write_record(folder, {"overrides": [], "sweep": token, "status": status, "array_task": task})
    return folder


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"])
def test_a_job_in_the_queue_is_not_submitted_again(
    tmp_path: Path, queue: Callable[[str], SlurmQueue], state: str
) -> None:
    """Nor is one that is done in the same array."""
    waits = submitted(tmp_path, "interrupted", 0, "7_0")
    done, failed = submitted(tmp_path, "done", 1, "7_1"), submitted(tmp_path, "failed", 2, "7_2")
    found = queue(f"echo '7_0|{state}|sweep-old\n7_1|COMPLETED|sweep-old\n7_2|FAILED|sweep-old'").find(
        [waits, done, failed]
    )
    assert set(found) == {waits, done}


@pytest.mark.parametrize("state", ["CANCELLED", "TIMEOUT", "NODE_FAIL", "COMPLETED", "PREEMPTED"])
def test_a_job_that_is_over_is_submitted_again(tmp_path: Path, queue: Callable[[str], SlurmQueue], state: str) -> None:
    jobs = [submitted(tmp_path, status, task, f"7_{task}") for task, status in enumerate(("running", "done"))]
    assert not queue(f"echo '7_0|{state}|sweep-old\n7_1|{state}|sweep-old'").find(jobs)
    assert not queue("exit 0").find(jobs)  # squeue has forgotten them


def test_a_single_job_and_two_arrays_are_found(tmp_path: Path, queue: Callable[[str], SlurmQueue]) -> None:
    jobs = [submitted(tmp_path, "running", 0, "7", "one"), submitted(tmp_path, "pending", 1, "9_1", "two")]
    found = queue("echo '7|RUNNING|sweep-one\n9_0|RUNNING|sweep-two\n9_1|PENDING|sweep-two'")
    assert list(found.find(jobs)) == jobs
    assert found.leave().startswith("Slurm job 7 and 9 goes on (`scancel 7 9` ends it)")


def test_jobs_that_are_ending_are_waited_for(tmp_path: Path, queue: Callable[[str], SlurmQueue]) -> None:
    """They may still write their records."""
    job = submitted(tmp_path, "running", 0, "7_0")
    again = f"cd {tmp_path}; if [ -e asked ]; then echo '7_0|CANCELLED|sweep-old'; else "
    assert not queue(again + "touch asked; echo '7_0|COMPLETING|sweep-old'; fi").find([job])
    assert (tmp_path / "asked").exists()


def test_the_wait_for_jobs_that_are_ending_is_said_once(
    tmp_path: Path, queue: Callable[[str], SlurmQueue], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    job = submitted(tmp_path, "running", 0, "7_0")
    queue(f"cd {tmp_path}; echo x >> asked; [ $(wc -l < asked) -gt 3 ] || echo '7_0|COMPLETING|sweep-old'").find([job])
    (said,) = caplog.messages
    assert "are ending: 7_0; if they do not end, try `scancel --signal=KILL 7_0`" in said


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (["policy.lambda_cost=0.1"], ["policy.lambda_cost=0.2"]),
        (["eval.num_shards=2", "eval.shard=0"], ["eval.num_shards=4", "eval.shard=0"]),
        (None, []),
    ],
)
def test_a_running_job_of_another_configuration_is_not_waited_for(
    tmp_path: Path, queue: Callable[[str], SlurmQueue], before: list[str] | None, now: list[str]
) -> None:
    """Where a folder is not named after the configuration."""
    queue("echo '7_0|RUNNING|sweep-old'")
    job = submitted(tmp_path, "running", 0, "7_0")
    if before is not None:
        write_config(compose_config("launcher=slurm", *before, root="collect"), job)
    record = {"overrides": [], "sweep": "new", "status": "pending"}
    prepared = Prepared(job, compose_config("launcher=slurm", *now, root="collect"), record)
    with pytest.raises(NotSubmittedError, match=rf"{job} belongs to a Slurm job of another configuration"):
        run_jobs("collect", [prepared], job.parent, lambda: None)
    assert read_record(job)["sweep"] == "old"


def test_a_running_job_of_the_same_configuration_is_waited_for(
    tmp_path: Path, queue: Callable[[str], SlurmQueue]
) -> None:
    """Also where the command names another place or number of rows at once, which change no result."""
    queue("echo '7_0|RUNNING|sweep-old'")
    job = submitted(tmp_path, "done", 0, "7_0")
    write_config(compose_config("launcher=slurm"), job)
    config = compose_config("launcher=slurm", "eval.chunk_rows=7", "launcher.mem_gb=3")
    record = {"overrides": [], "sweep": "new", "status": "pending"}
    run_jobs("eval", [Prepared(job, config, record)], job.parent, lambda: None)
    assert read_record(job)["sweep"] == "old"


class Over:
    """A place whose jobs have all ended."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders

    def over(self) -> dict[Path, str]:
        return dict.fromkeys(self.folders, "was killed")

    def state(self) -> str:
        return ""


@pytest.mark.parametrize(("owner", "status"), [("mine", "killed"), ("earlier", "killed"), ("newer", "pending")])
def test_the_record_of_a_newer_command_is_left_alone(tmp_path: Path, owner: str, status: str) -> None:
    before = {"overrides": ["a=1"], "sweep": "earlier", "status": "pending"}
    write_record(tmp_path, before | {"sweep": owner})
    _wait(cast(Backend, Over(tmp_path)), [tmp_path], {tmp_path: before} if owner == "earlier" else {}, "mine")
    assert (read_record(tmp_path)["sweep"], read_record(tmp_path)["status"]) == (owner, status)


def test_without_an_answer_nothing_is_submitted(tmp_path: Path, queue: Callable[[str], SlurmQueue]) -> None:
    job = submitted(tmp_path, "running", 0, "7_0")
    with pytest.raises(VoVNetError, match=r"squeue does not answer \(Socket timed out\), so it is not known whether"):
        queue("echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1").find([job])
    assert read_record(job)["status"] == "running"
