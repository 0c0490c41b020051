"""Commands that torchrun starts as two ranks: one says, records and writes; all end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT, Done, command, start, variables
from tests.experiments.test_commands import base, rows  # noqa: F401
from vovnet.rank_launch import _places

TRAIN = (
    "trainer=ddp", "trainer.devices=2", "training.max_samples=30", "training.epochs=1", "training.batch_size=16",
    "backbone.device=cpu", "eval.chunk_rows=8",
)  # fmt: skip
LIMIT = 120.0  # seconds


def torchrun(*command: str) -> Done:
    """Two ranks as the documented launcher starts them."""
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", *command]
    return subprocess.run(call, cwd=ROOT, env=variables(), capture_output=True, text=True)


def two_ranks(logs: Path, entry: str, *arguments: str) -> list[Done]:
    """The same from warm processes: when one has failed, the other is ended, as torchrun does."""
    started = [
        start(entry, *arguments, logs=logs / place["RANK"], environment=place | {"OMP_NUM_THREADS": "1"})
        for place in _places(2)
    ]
    processes = [one.process for one in started]
    deadline = time.monotonic() + LIMIT
    while any(process.exitcode is None for process in processes) and time.monotonic() < deadline:
        if any(process.exitcode for process in processes):
            time.sleep(0.1)
            for process in processes:
                if process.exitcode is None:
                    os.kill(process.pid or 0, signal.SIGTERM)
            break
        time.sleep(0.02)
    return [one.done(LIMIT) for one in started]


def sentences(ranks: list[Done]) -> list[str]:
    """What all ranks together say on the terminal that is an error."""
    said = "\n".join(done.stderr for done in ranks)
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_a_training_ends_well_on_both_ranks_and_is_not_done_again(
    base: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    first = torchrun("experiments.train", *base, *TRAIN)
    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr
    assert first.stdout.count("trained on ") == first.stdout.count("outputs: ") == 1
    assert first.stderr.count("stage 2: the policy learns") == 1
    (folder,) = (path.parent for path in tmp_path.glob("runs/train/*/policy.safetensors"))
    assert json.loads((folder / "job.json").read_text())["status"] == "done"
    assert json.loads((folder / "summary.json").read_text())["train_samples"] > 0
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}

    again = two_ranks(tmp_path / "logs", "train", *base, *TRAIN)
    assert [done.returncode for done in again] == [0, 0], again
    assert [done.stderr.count("done already") for done in again] == [1, 0]
    assert [done.stdout for done in again] == [first.stdout, ""]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == written


@pytest.mark.parametrize(
    ("entry", "wrong", "sentence"),
    [
        ("train", ["training.sead=1"], "there is no configuration key training.sead, did you mean training.seed?"),
        ("train", ["training.seed=x"], "training.seed='x' is refused"),
        ("train", ["trainer.devices=3"], "trainer.devices=3 on trainer.num_nodes=1 needs 3 processes, but 2 run"),
        ("train", ["dataset.path=nowhere"], "dataset.path=nowhere is not a folder"),
        ("train", ["training.seed=1,2", "hydra.mode=MULTIRUN"], "a sweep is not run by several ranks"),
        ("eval", ["hydra.run.dir=/tmp/${now:%H-%M-%S}"], "the ranks of a run would give ${now:...} different values"),
        ("report", [], "experiments.report runs in one process; leave torchrun or srun out."),
        ("pipeline", [], "experiments.pipeline runs in one process"),
    ],
)
def test_a_mistake_is_said_once_and_nothing_is_run(
    base: list[str],  # noqa: F811
    tmp_path: Path,
    entry: str,
    wrong: list[str],
    sentence: str,
) -> None:
    known = (base[0], *(TRAIN if entry == "train" else ()))
    ranks = two_ranks(tmp_path / "logs", entry, base[1], *known, *wrong)
    assert ranks[0].returncode == 1
    assert ranks[1].returncode != 0
    (said,) = sentences(ranks)
    assert said.startswith(f"error: {sentence}")
    assert not list(tmp_path.glob("runs/**/summary.json"))
    assert not list(tmp_path.glob("runs/outcomes"))


def test_two_ranks_of_an_evaluation_share_the_work_and_one_writes(
    base: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = ("policy/baseline=always_full", "eval.max_samples=16", "eval.chunk_rows=2", "eval.batch_size=2")
    ranks = two_ranks(tmp_path / "logs", "eval", *base, *settings)
    assert [done.returncode for done in ranks] == [0, 0], ranks
    assert "outputs: " in ranks[0].stdout
    assert ranks[1].stdout == ranks[1].stderr == ""
    (table,) = tmp_path.glob("runs/eval/*/results.csv")
    assert [row["num_samples"] for row in rows(table)] == ["16"]
    assert json.loads((table.parent / "job.json").read_text())["status"] == "done"


def test_two_ranks_route_live_what_one_process_does(
    base: list[str],  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = ("policy/baseline=always_coarse", "eval.mode=live", "eval.max_samples=7", "eval.batch_size=2")
    alone = command("eval", *base, *settings, "name=one")
    assert alone.returncode == 0, alone.stderr
    ranks = two_ranks(tmp_path / "logs", "eval", *base, *settings, "trainer=ddp", "name=two")
    assert [done.returncode for done in ranks] == [0, 0], ranks
    assert "outputs: " in ranks[0].stdout
    assert ranks[1].stdout == ranks[1].stderr == ""
    one, two = (path.read_bytes() for path in sorted(tmp_path.glob("runs/*/*/predictions.jsonl")))
    assert one == two


def test_a_rank_that_fails_alone_ends_the_main_one_which_says_why(tmp_path: Path) -> None:
    """The main rank waits for it, as in a collective operation."""
    program = """
import sys, time
from pathlib import Path
from vovnet.errors import VoVNetError
from vovnet.ranks import is_main_rank
from vovnet.rank_launch import run_as_rank

def work():
    if is_main_rank():
        time.sleep(60)
    raise VoVNetError("the disk of this rank is gone; mount it.")

assert run_as_rank(work, Path(sys.argv[1]), {"overrides": [], "sweep": None}) is not None
time.sleep(60)
"""
    call = [sys.executable, "-c", program, str(tmp_path)]
    main, other = (
        subprocess.Popen(call, cwd=ROOT, env=variables(place), stderr=subprocess.PIPE, text=True)
        for place in _places(2)
    )
    _, said = main.communicate(timeout=LIMIT)
    other.kill()
    _, other_said = other.communicate()
    assert (main.returncode, said) == (1, "error: the disk of this rank is gone; mount it. (rank-1)\n")
    assert other_said == ""
    record = json.loads((tmp_path / "job.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "the disk of this rank is gone; mount it. (rank-1)")
