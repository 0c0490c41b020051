"""Sweeps, failures, kills, preemption and shards in a real Slurm; each command as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from tests.commands import ROOT, command, last_line, variables
from tests.experiments.test_commands import rows
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slow
# At ten minutes and less submitit takes every signal for the time limit's.
SLURM = ("launcher=slurm", "launcher.timeout_min=60")
LIMIT = 120.0  # seconds that anything may take
SMALL = ("eval.chunk_rows=2", "eval.batch_size=2")  # many parts: something is left to do when a signal comes


def jobs(folder: Path) -> list[dict[str, Any]]:
    """Records of a sweep's jobs."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/job.json"))]


def job(folder: Path, override: str) -> dict[str, Any]:
    """The record of the job with an override, empty as long as there is none."""
    found = [record for record in jobs(folder) if override in record["overrides"]]
    return found[0] if found else {}


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def preempt(cluster: Cluster, number: str) -> None:
    """Let a job be requeued, and wait until it may begin again.

    Slurm begins it minutes later. Told to do so at once, slurmd refuses: it has a credential of this very second that
    was revoked when the job was killed, and takes the job for that one.
    """
    cluster.command("scancel", "--signal=USR2", number)
    until(lambda: "PENDING" in cluster.command("squeue", "--noheader", f"--jobs={number}", "--format=%T"))
    may_begin_again(number)


def may_begin_again(number: str) -> None:
    """Wait until the node has forgotten a job that is requeued."""
    until(lambda: not list(steps(number)))
    time.sleep(3)


def steps(number: str) -> Iterator[str]:
    """Slurm's processes that look after a job's steps on this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            if f"slurmstepd: [{number}." in (said := path.read_bytes().decode(errors="replace")):
                yield said


@contextmanager
def started(entry: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on while the test disturbs its jobs; ended with the test."""
    call = [sys.executable, "-m", f"experiments.{entry}", *arguments]
    process = subprocess.Popen(
        call, cwd=ROOT, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def measured(path: Path) -> list[dict[str, str]]:
    """A table without what depends on the moment."""
    return [{k: v for k, v in row.items() if "latency" not in k and k != "wall_seconds"} for row in rows(path)]


def stored(runs: Path) -> dict[str, pa.Table]:
    """The outcome store's tables with their rows in order, without times."""
    tables = {}
    for folder in sorted((runs / "outcomes").glob("*-*/")):
        parts = [pa.ipc.open_file(path.read_bytes()).read_all() for path in sorted(folder.glob("*.arrow"))]
        table = pa.concat_tables(parts)
        tables[folder.name] = table.drop_columns([name for name in table.column_names if "seconds" in name])
    return tables


def test_trainings_and_a_lambda_sweep_equal_the_basic_launchers(base: list[str], tmp_path: Path) -> None:
    trained = command("train", *base, "training.max_samples=60", *SLURM)
    assert trained.returncode == 0, trained.stderr
    tables = []
    for name, launcher in (("slurm", SLURM), ("basic", ["-m"])):
        process = command("eval", *base, "policy.lambda_cost=0,0.5", f"name={name}", *launcher)
        assert process.returncode == 0, process.stderr
        tables.append((tmp_path / f"runs/{name}/results.csv").read_bytes())
    assert tables[0] == tables[1]
    assert tables[0].count(b"\n") == 3
    records = jobs(tmp_path / "runs/slurm")
    assert {record["slurm_job"].partition("_")[2] for record in records} == {"0", "1"}
    assert all("git_commit" in record and "git_dirty" in record for record in records)


def test_a_job_that_raises_and_one_that_is_refused(base: list[str], tmp_path: Path) -> None:
    sweep = ["backbone.device=cpu,cuda:9", "eval.max_samples=8,-1", "policy/baseline=no_vision", "name=sweep"]
    process = command("eval", *base, *sweep, *SLURM)
    assert process.returncode == 1
    assert [row["num_samples"] for row in rows(tmp_path / "runs/sweep/results.csv")] == ["8"]
    ends = sorted(line["status"] for line in rows(tmp_path / "runs/sweep/jobs.csv"))
    assert ends[0].startswith("backbone.device=cuda:9, but this machine has")
    assert ends[1] == "done"
    assert all("eval.max_samples=-1 is refused" in end for end in ends[2:])
    assert "Traceback" not in process.stderr


def test_jobs_that_are_killed_and_cancelled_are_reported_and_the_others_finish(
    base: list[str],
    tmp_path: Path,
    cluster: Cluster,
) -> None:
    folder = tmp_path / "runs/sweep"
    policies = ("no_vision", "always_coarse", "always_full")
    killed, cancelled, left = (f"policy/baseline={name}" for name in policies)
    sweep = [f"policy/baseline={','.join(policies)}", "eval.mode=live", "eval.batch_size=1", "name=sweep"]
    with started("eval", *base, *sweep, *SLURM) as process:
        until(lambda: all(job(folder, o).get("status") == "running" for o in (killed, cancelled)))
        os.kill(job(folder, killed)["process"], signal.SIGKILL)
        cluster.command("scancel", job(folder, cancelled)["slurm_job"])
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    ends = {override: job(folder, override) for override in (killed, cancelled, left)}
    assert [end["status"] for end in ends.values()] == ["killed", "killed", "done"]
    assert "was killed" in ends[killed]["error"]
    assert "was cancelled" in ends[cancelled]["error"]
    assert Path(ends[killed]["error"].rpartition("see ")[2]).exists()
    assert [row["baseline_name"] for row in rows(folder / "results.csv")] == ["always_full"]
    assert output.count("failed: ") == 2


def test_an_array_that_is_cancelled_while_it_waits(base: list[str], tmp_path: Path, cluster: Cluster) -> None:
    held = "+launcher.additional_parameters.hold=true"
    with started("eval", *base, "policy/baseline=no_vision,always_full", "name=sweep", *SLURM, held) as process:
        until(lambda: arrays(tmp_path / "runs/sweep"))
        (array,) = arrays(tmp_path / "runs/sweep")
        until(lambda: "JobHeldUser" in cluster.command("squeue", "--noheader", f"--jobs={array}", "--format=%r"))
        cluster.command("scancel", array)
        _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    errors = {record["error"] for record in jobs(tmp_path / "runs/sweep")}
    assert errors == {f"the job was cancelled before it began (Slurm job {array}_{number})" for number in (0, 1)}, said


def test_a_preempted_job_resumes_to_the_same_result(base: list[str], tmp_path: Path, cluster: Cluster) -> None:
    arguments = [*SMALL, "policy/baseline=always_full", "name=sweep"]
    runs, alone = tmp_path / "runs", tmp_path / "alone"
    with started("eval", *base, *arguments, *SLURM) as process:
        until(lambda: len(list(runs.glob("outcomes/full-*/*.arrow"))) >= 2)
        (record,) = jobs(runs / "sweep")
        number = record["slurm_job"]
        preempt(cluster, number)
        kept = len(list(runs.glob("outcomes/full-*/*.arrow")))
        cluster.command("scontrol", "update", f"JobId={number}", "StartTime=now")
        _, log = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, log
    (record,) = jobs(runs / "sweep")
    assert (record["status"], record["slurm_restarts"]) == ("done", 1)
    (summary,) = (json.loads(path.read_text()) for path in runs.glob("sweep/*/summary.json"))
    assert 0 < summary["rows_computed"]["full"] <= summary["result"]["num_samples"] - 2 * kept
    undisturbed = command("eval", base[0], f"paths.runs={alone}", *arguments, "-m")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert measured(runs / "sweep/results.csv") == measured(alone / "sweep/results.csv")
    assert stored(runs) == stored(alone)


def test_a_sharded_collection_equals_an_unsharded_one(base: list[str], tmp_path: Path) -> None:
    arguments = ["eval.chunk_rows=8", "name=collect"]
    sharded = command("collect", *base, *arguments, "eval.num_shards=2", *SLURM)
    assert sharded.returncode == 0, sharded.stderr
    whole = command("collect", base[0], f"paths.runs={tmp_path / 'whole'}", *arguments)
    assert whole.returncode == 0, whole.stderr
    folders = sorted((tmp_path / "runs/collect").glob("*-of-2"))
    computed = [json.loads((folder / "summary.json").read_text())["rows_computed"]["full"] for folder in folders]
    (total,) = tmp_path.glob("whole/collect/*/summary.json")
    assert sum(computed) == json.loads(total.read_text())["rows_computed"]["full"]
    assert all(computed)
    assert stored(tmp_path / "runs") == stored(tmp_path / "whole")


def test_every_task_runs_and_the_first_writes(base: list[str], tmp_path: Path) -> None:
    process = command(
        "eval", *base, *SMALL, "policy/baseline=always_full", "name=s", *SLURM, "launcher.tasks_per_node=2"
    )
    assert process.returncode == 0, process.stderr
    (record,) = jobs(tmp_path / "runs/s")
    assert (record["status"], record["tasks"]) == ("done", 2)
    logs = [path.read_text() for path in sorted(tmp_path.glob("runs/s/slurm/*/*_log.err"))]
    assert len(logs) == 2
    assert all("collecting easy_vqa" in log for log in logs)
    (row,) = rows(tmp_path / "runs/s/results.csv")
    parts = sorted(path.name[:19] for path in tmp_path.glob("runs/outcomes/full-*/*.arrow"))
    assert len(parts) == len(set(parts)) == -(-int(row["num_samples"]) // 2)


TRAINING = (
    "name=train", "training.max_samples=60", "training.stage1_epochs=2", "training.epochs=2",
    "training.batch_size=16", "training.backbone.batch_size=16", "training.backbone.micro_batch_size=8",
    "training.backbone.learning_rate=0.01", "training.save_every=1",
)  # fmt: skip


def weights(runs: Path) -> dict[str, dict[str, torch.Tensor]]:
    """What a training left."""
    (folder,) = (path.parent for path in runs.glob("train/*/policy.safetensors"))
    return {str(path.relative_to(folder)): load_file(path) for path in sorted(folder.rglob("*.safetensors"))}


def test_a_training_over_two_tasks_equals_one(base: list[str], tmp_path: Path) -> None:
    settings = [*TRAINING, "training.stage1_epochs=1", "training.epochs=1", "training.backbone.lora.dropout=0"]
    process = command("train", *base, *settings, "trainer=ddp", *SLURM)
    assert process.returncode == 0, process.stderr
    (record,) = jobs(tmp_path / "runs/train")
    assert (record["status"], record["tasks"]) == ("done", 2)
    alone = command("train", base[0], f"paths.runs={tmp_path / 'alone'}", *settings)
    assert alone.returncode == 0, alone.stderr
    two, one = weights(tmp_path / "runs"), weights(tmp_path / "alone")
    assert one.keys() == two.keys()
    for file in one:
        for name in one[file]:
            torch.testing.assert_close(one[file][name], two[file][name], rtol=1e-4, atol=1e-5)


def test_a_preempted_training_ends_with_the_same_weights(base: list[str], tmp_path: Path, cluster: Cluster) -> None:
    runs, alone = tmp_path / "runs", tmp_path / "alone"
    with started("train", *base, *TRAINING, *SLURM) as process:
        until(lambda: list(runs.glob("train/*/stage1/steps/stage1-step=*.ckpt")))
        (record,) = jobs(runs / "train")
        number = record["slurm_job"]
        preempt(cluster, number)
        assert not list(runs.glob("train/*/policy.safetensors"))
        cluster.command("scontrol", "update", f"JobId={number}", "StartTime=now")
        _, log = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, log
    (record,) = jobs(runs / "train")
    assert (record["status"], record["slurm_restarts"]) == ("done", 1)
    undisturbed = command("train", base[0], f"paths.runs={alone}", *TRAINING)
    assert undisturbed.returncode == 0, undisturbed.stderr
    resumed, calm = weights(runs), weights(alone)
    assert resumed.keys() == calm.keys()
    assert all(torch.equal(resumed[file][name], calm[file][name]) for file in calm for name in calm[file])


def test_a_partition_that_does_not_exist(base: list[str], tmp_path: Path) -> None:
    sweep = ["policy/baseline=no_vision,always_full", "name=sweep"]
    process = command("eval", *base, *sweep, *SLURM, "launcher.partition=nope")
    assert process.returncode == 1
    assert last_line(process).startswith("error: sbatch refused the jobs (invalid partition specified: nope")
    assert len(process.stderr.strip().splitlines()) == 1
    assert {record["status"] for record in jobs(tmp_path / "runs/sweep")} == {"failed"}


TWO = ("policy/baseline=no_vision,always_full", "name=sweep", "launcher.array_parallelism=1")


def arrays(folder: Path) -> set[str]:
    """Slurm's ids of the arrays that a sweep has submitted."""
    return {path.name.partition("_")[0] for path in folder.glob("slurm/*_*/")}


def test_a_command_that_is_killed_waits_for_its_jobs_when_it_is_started_again(
    base: list[str],
    tmp_path: Path,
    cluster: Cluster,
) -> None:
    folder = tmp_path / "runs/sweep"
    with started("eval", *base, *TWO, *SLURM) as first:
        until(lambda: job(folder, "policy/baseline=no_vision").get("status") in ("running", "done"))
        (array,) = arrays(folder)
        cluster.command("scontrol", "hold", f"{array}_1")
        first.kill()
    with started("eval", *base, *TWO, *SLURM) as again:
        assert again.stderr is not None
        said = iter(again.stderr.readline, "")
        assert any(f"Slurm job {array} of an earlier start goes on and is waited for" in line for line in said)
        cluster.command("scontrol", "release", f"{array}_1")
        _, log = again.communicate(timeout=LIMIT)
    assert again.returncode == 0, log
    assert {row["baseline_name"] for row in rows(folder / "results.csv")} == {"no_vision", "always_full"}
    assert arrays(folder) == {array}
    tokens = {record["sweep"] for record in jobs(folder)}
    assert json.loads((folder / "sweep.json").read_text())["token"] not in tokens
