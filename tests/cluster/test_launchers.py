"""Launchers without a cluster: processes of this machine, refusals, what sbatch is told and what squeue tells."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from submitit.slurm.slurm import _make_sbatch_string

from tests.commands import command, last_line
from tests.conftest import compose_config
from tests.experiments.test_commands import base, rows  # noqa: F401
from vovnet.cluster import work
from vovnet.cluster.run import LocalPool, _lost
from vovnet.cluster.slurm import SlurmQueue, sbatch_parameters
from vovnet.compose import config_hash
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.jobs import read_record, write_record
from vovnet.options import conf_dir
from vovnet.provenance import git_state
from vovnet.rank_launch import read_config, write_config
from vovnet.ranks import cores, local_rank, rank, world_size
from vovnet.schema import LocalLauncher, SlurmLauncher


def launcher(*overrides: str) -> SlurmLauncher:
    config = compose_config("launcher=slurm", *overrides).launcher
    assert isinstance(config, SlurmLauncher)
    return config


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.mark.slow
def test_a_local_sweep_with_a_failing_job(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    sweep = ["policy/baseline=no_vision", "eval.max_samples=8", "backbone.device=cpu,cuda:9", "name=sweep"]
    process = command("eval", *base, *sweep, "launcher=local", "launcher.jobs=2")
    assert process.returncode == 1
    assert [row["num_samples"] for row in rows(tmp_path / "runs/sweep/results.csv")] == ["8"]
    ends = sorted(line["status"].partition(",")[0] for line in rows(tmp_path / "runs/sweep/jobs.csv"))
    assert ends == ["backbone.device=cuda:9", "done"]
    assert "sweep: 2 jobs in" in process.stderr


def test_local_jobs_share_the_cores_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    pool = LocalPool(LocalLauncher(kind="local", jobs=2, devices=("0", "3")), "eval")
    found = [pool.environment(slot) for slot in (0, 1)]
    assert [one["OMP_NUM_THREADS"] for one in found] == [str(max(1, cores() // 2))] * 2
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "3"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert pool.environment(0)["OMP_NUM_THREADS"] == "7"


@pytest.mark.slow
def test_a_pipeline_hands_the_launcher_to_its_stages(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    stages = (
        "[{name:all,entry:collect,sweep:true,overrides:['eval.num_shards=2']},"
        "{name:one,entry:eval,sweep:false,overrides:['policy/baseline=no_vision']}]"
    )
    process = command("pipeline", *base, f"pipeline.stages={stages}", "launcher=local", "eval.chunk_rows=16", "name=p")
    assert process.returncode == 0, process.stderr
    folder = tmp_path / "runs/p"
    assert [row["baseline_name"] for row in rows(folder / "results.csv")] == ["no_vision"]
    shards = list(folder.glob("all/*/job.json"))
    assert len(shards) == 2
    for job in (folder / "one/job.json", *shards):
        assert json.loads(job.read_text())["host"], "the job did not run in a process of its own"


def test_no_sbatch_is_said_and_touches_no_results(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    sweep = ["policy/baseline=no_vision", "eval.max_samples=8", "name=sweep"]
    assert command("eval", "-m", *base, *sweep).returncode == 0
    process = command("eval", *base, *sweep, "launcher=slurm", environment={"PATH": "/nowhere"})
    assert process.returncode == 1
    assert last_line(process).startswith("error: launcher=slurm needs sbatch, which is not on PATH")
    assert len(rows(tmp_path / "runs/sweep/results.csv")) == 1


def test_a_shard_is_collects_own(base: list[str]) -> None:  # noqa: F811
    process = command("eval", *base, "policy/baseline=no_vision", "eval.num_shards=2")
    assert process.returncode == 1
    assert "experiments.collect's" in last_line(process)
    with pytest.raises(VoVNetError, match="shard=2 must be below num_shards=2"):
        compose_config("eval.num_shards=2", "eval.shard=2", root="collect")


def test_launchers_and_shards_change_no_identity() -> None:
    usual = config_hash(compose_config())
    for overrides in (
        ["launcher=slurm", "launcher.mem_gb=3"],
        ["launcher=local"],
        ["eval.num_shards=4", "eval.shard=3"],
    ):
        assert config_hash(compose_config(*overrides)) == usual


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    for overrides in (["launcher=slurm", "dataset=mini"], ["launcher=local"], ["policy/baseline=oracle"]):
        config = compose_config(*overrides)
        write_config(config, tmp_path)
        assert read_config(tmp_path) == config
    assert isinstance(compose_config("launcher=local").launcher, LocalLauncher)


def test_what_sbatch_is_told() -> None:
    config = launcher(
        "launcher.partition=gpu",
        "launcher.gpus_per_node=a100:4",
        "launcher.tasks_per_node=4",
        "launcher.nodes=2",
        "launcher.cpus_per_task=8",
        "launcher.mem_gb=1.5",
        "launcher.constraint='a&b'",
        "launcher.setup=[module load cuda]",
        "+launcher.additional_parameters.reservation=mine",
    )
    lines = _make_sbatch_string(command="x", folder="/f", **sbatch_parameters(config, "eval")).splitlines()
    options = (
        "partition=gpu gpus-per-node=a100:4 ntasks-per-node=4 nodes=2 cpus-per-task=8 mem=1536M time=240 "
        "reservation=mine"
    )
    assert {
        f"#SBATCH --{option}" for option in [*options.split(), "requeue", "constraint='a&b'", "signal=USR2@90"]
    } <= set(lines)
    assert "module load cuda" in lines
    assert any(line.startswith("srun ") and "--kill-on-bad-exit=1" in line for line in lines)


def test_how_squeue_tells_the_end_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, "sbatch", "echo Submitted batch job 7")
    program(tmp_path, "srun", "exit 1")
    answer = tmp_path / "answer"
    program(tmp_path, "squeue", f"cat {answer}")
    # Asked every time, however slowly jobs were submitted.
    queue = SlurmQueue(launcher(), "eval", tmp_path, "token", settle=0.0, ask_last=0.0)
    folders = [tmp_path / name for name in "abcdefgh"]
    assert queue.submit(folders) == "8 jobs, Slurm job 7"
    for folder in folders[:6]:
        queue.logs[folder].write_text("RuntimeError: out of memory\n")
    queue.logs[folders[4]].write_text(
        f"{'x' * 100_000}\nslurmstepd-n1: error: StepId=7.4 exceeded memory limit (2 > 1), being killed\n"
    )
    program(tmp_path, "squeue", "echo Unable to contact slurm controller >&2; exit 1")
    assert (queue.over(), queue.state()) == ({}, "")  # before the first answer
    program(tmp_path, "squeue", f"cat {answer}")

    states = ("RUNNING", "PENDING", "TIMEOUT", "OUT_OF_MEMORY", "FAILED", "FAILED", "CANCELLED", "FAILED")
    answer.write_text("".join(f"7_{number}|{state}|Priority\n" for number, state in enumerate(states)))
    over = queue.over()
    assert set(over) == set(folders[2:])
    ends = [over[folder] for folder in folders[2:]]
    assert ends[0] == f"ran into its time limit (Slurm job 7_2); see {queue.logs[folders[2]]}"
    assert [end.partition(" (")[0] for end in ends[1:4]] == ["ran out of memory"] * 2 + [
        "was killed or could not start"
    ]
    assert "; raise launcher.mem_gb, or see " in ends[1]
    assert ends[4] == "was cancelled before it began (Slurm job 7_6)"
    assert ends[5].endswith(f"; it left no log: if its node does not see {tmp_path}, set paths.runs to a shared folder")
    assert queue.state() == "1 pending, 1 running (Priority)"

    program(tmp_path, "squeue", "echo Unable to contact slurm controller >&2; exit 1")
    assert queue.over() == over  # nothing is learned, nothing is concluded
    program(tmp_path, "squeue", "echo Invalid job id specified >&2; exit 1")
    assert set(queue.over()) == set(folders)
    assert queue.over()[folders[6]] == ends[4]  # what was learned once stays
    answer.write_text("7_2|PENDING|BeginTime\n")
    program(tmp_path, "squeue", f"cat {answer}")
    assert folders[2] not in queue.over()  # it was requeued


def test_the_failure_of_another_task_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "log_lines", lambda *_: None)
    write_config(compose_config("backbone.path=nowhere", "policy/baseline=no_vision"), tmp_path)
    record = {"overrides": [], "sweep": "x", "status": "running", "git_commit": None}
    write_record(tmp_path, record)
    with monkeypatch.context() as other:
        other.setenv("RANK", "1")
        with pytest.raises(SystemExit):
            work.Job("eval", str(tmp_path))()
    assert read_record(tmp_path) == record
    error = _lost(tmp_path, record, "was killed")["error"]
    assert error.startswith("backbone.path=nowhere is not a folder")
    assert error.endswith("(rank-1) the job was killed")


@pytest.mark.parametrize("content", ["{}", "{", "[" * 10**5, '"x"'])
def test_a_task_whose_error_cannot_be_read_has_failed(tmp_path: Path, content: str) -> None:
    record = {"overrides": [], "sweep": "x", "status": "running"}
    (tmp_path / "rank-3.json").write_text(content)
    assert _lost(tmp_path, record, "ended")["error"] == "rank-3 failed (its error cannot be read) the job ended"


@pytest.mark.parametrize("content", ["{}", "{", '{"a":' * 10**5, None])
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(VoVNetError, match=r"config\.json.*; submit the job again\.$"):
        read_config(tmp_path)


def test_a_changed_commit_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    commit = git_state()["git_commit"]
    assert "git_commit_at_start" not in work._whereabouts({"git_commit": commit})
    assert not caplog.records
    assert work._whereabouts({"git_commit": "0" * 40})["git_commit_at_start"] == commit
    assert "submitted at commit 000" in caplog.text


def test_the_launcher_cannot_be_swept(base: list[str]) -> None:  # noqa: F811
    process = command("eval", *base, "policy/baseline=no_vision", "launcher=local", "launcher.jobs=1,2")
    assert process.returncode == 1
    assert last_line(process).startswith("error: the launcher and its keys hold for a whole sweep")


def test_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert (rank(), world_size()) == (0, 1)  # a shell in an allocation
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert (rank(), local_rank(), world_size()) == (3, 1, 4)
    write_json(tmp_path / "a.json", {})
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("RANK", "0")
    write_json(tmp_path / "a.json", {})
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "found", "visible", "places"),
    [
        (["launcher.jobs=3"], 2, "", (None, None, None)),
        (["launcher.jobs=3", "launcher.devices=[4,5]"], 2, "", ("4", "5", "4")),
        (["launcher.devices=[4,5]"], 8, "", ("4", "5")),
        ([], 2, "", ("0", "1")),
        ([], 2, "5,7", ("5", "7")),
        ([], 0, "", (None,) * max(1, (os.cpu_count() or 1) // 2)),
    ],
)
def test_jobs_at_once_are_as_many_as_devices(
    given: list[str], found: int, visible: str, places: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launcher = compose_config("launcher=local", *given).launcher
    assert isinstance(launcher, LocalLauncher)
    assert launcher.places() == places


@pytest.mark.parametrize(
    ("given", "shards"),
    [
        (["launcher=local", "launcher.jobs=3"], 3),
        (["launcher=local", "launcher.jobs=3", "eval.num_shards=8"], 8),
        (["launcher=slurm", "eval.num_shards=8"], 8),
        ([], 1),
    ],
)
def test_a_collection_is_shared_out_to_the_jobs_that_run_at_once(given: list[str], shards: int) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        params = compose("collect", given, return_hydra_config=True).hydra.sweeper.params
        assert dict(params) == {"eval.num_shards": str(shards), "eval.shard": f"range({shards})"}
