"""Clusters as they are: little memory, a node that goes down, folders that it does not see, hundreds of jobs.

They take minutes, and run with VOVNET_SLURM=1 VOVNET_SLURM_LONG=1.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import command
from tests.experiments.test_commands import rows
from tests.slurm.cluster import Cluster
from tests.slurm.test_slurm import LIMIT, SLURM, SMALL, job, jobs, may_begin_again, measured, started, stored, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("VOVNET_SLURM_LONG") != "1", reason="it takes minutes: VOVNET_SLURM_LONG=1"),
]
MANY = 200
ENFORCED = (
    "JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=1", "JobAcctGatherParams=OverMemoryKill",
    "SelectTypeParameters=CR_Core_Memory",
)  # fmt: skip


@contextmanager
def own(
    monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...] = (), hides: Path | None = None
) -> Iterator[Cluster]:
    """A cluster of a test's own, which its commands submit to."""
    running = Cluster(Path(tempfile.mkdtemp(prefix="vovnet-slurm-")), settings, hides)
    running.start()
    for key, value in running.environment.items():
        monkeypatch.setenv(key, value)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(running.folder)


def test_a_job_over_its_memory_is_reported_as_such(
    base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own(monkeypatch, ENFORCED):
        process = command("eval", *base, "policy/baseline=no_vision", "name=s", *SLURM, "launcher.mem_gb=0.2")
    assert process.returncode == 1
    (record,) = jobs(tmp_path / "runs/s")
    assert record["status"] == "killed"
    assert record["error"].startswith("the job ran out of memory (Slurm job ")
    assert "; raise launcher.mem_gb, or see " in record["error"]


def test_a_node_that_goes_down_and_comes_back(base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, alone = tmp_path / "runs", tmp_path / "alone"
    arguments = [*SMALL, "policy/baseline=always_full", "name=sweep"]
    with own(monkeypatch) as cluster, started("eval", *base, *arguments, *SLURM) as process:
        until(lambda: len(list(runs.glob("outcomes/full-*/*.arrow"))) >= 2)
        number = job(runs / "sweep", "policy/baseline=always_full")["slurm_job"]
        cluster.lose_node()
        until(lambda: "PENDING" in cluster.command("squeue", "--noheader", f"--jobs={number}", "--format=%T"))
        cluster.bring_node()
        may_begin_again(number)
        cluster.command("scontrol", "update", f"JobId={number}", "StartTime=now")
        _, log = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, log
    (record,) = jobs(runs / "sweep")
    assert (record["status"], record["slurm_restarts"]) == ("done", 1)
    undisturbed = command("eval", base[0], f"paths.runs={alone}", *arguments, "-m")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert measured(runs / "sweep/results.csv") == measured(alone / "sweep/results.csv")
    assert stored(runs) == stored(alone)


def test_a_folder_that_the_node_does_not_see(base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home := tmp_path / "home").mkdir()
    with own(monkeypatch, hides=home):
        process = command("eval", *base, f"paths.runs={home}/runs", "policy/baseline=no_vision", "name=s", *SLURM)
    assert process.returncode == 1
    (record,) = jobs(home / "runs/s")
    assert record["error"].endswith(f"if its node does not see {home}/runs/s, set paths.runs to a shared folder")


def test_jobs_need_no_home(base: list[str], tmp_path: Path) -> None:
    process = command(
        "eval", *base, "policy/baseline=always_full", "name=s", *SLURM, "launcher.setup=['export HOME=/no']"
    )
    assert process.returncode == 0, process.stderr
    assert [row["baseline_name"] for row in rows(tmp_path / "runs/s/results.csv")] == ["always_full"]


def test_a_sweep_of_two_hundred_small_jobs(base: list[str], tmp_path: Path) -> None:
    values = [round(number / MANY, 3) for number in range(MANY)]
    sweep = ["policy/baseline=uncertainty_threshold", f"policy.baseline.threshold={','.join(map(str, values))}"]
    process = command("eval", *base, *sweep, "name=s", *SLURM)
    assert process.returncode == 0, process.stderr[-2000:]
    assert sorted(float(row["threshold"]) for row in rows(tmp_path / "runs/s/results.csv")) == values
    assert {record["status"] for record in jobs(tmp_path / "runs/s")} == {"done"}
