"""The commands as a user types them."""

import csv
import importlib
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, command, last_line, typed
from tests.composer import composed
from vovnet.compose import to_typed
from vovnet.options import commands


@pytest.fixture
def base(easy_data: Path, tmp_path: Path) -> list[str]:
    return [f"dataset.path={easy_data}", f"paths.runs={tmp_path / 'runs'}"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["policy.lambda_csot=1"], "did you mean policy.lambda_cost?"),
        (["policy.lambda_cost=-1"], "policy.lambda_cost=-1 is refused"),
        (["backbone.path=nowhere"], "backbone.path=nowhere is not a folder"),
        (["dataset.path=nowhere"], "dataset.path=nowhere is not a folder"),
        (["backbone=qwen3_vl_8b"], "Qwen/Qwen3-VL-8B-Instruct is neither in the local hub cache nor"),
        (["eval.checkpoint=nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["backbone.device=cuda:9", "policy/baseline=no_vision"], "backbone.device=cuda:9, but this machine has"),
        ([], "no trained policy under"),
    ],
)
def test_mistakes_get_one_sentence_and_a_status(base: list[str], arguments: list[str], sentence: str) -> None:
    process = command("eval", *base, *arguments, environment={"HF_HUB_OFFLINE": "1"})
    assert process.returncode == 1
    assert last_line(process).startswith("error: ")
    assert sentence in last_line(process)
    assert "Traceback" not in process.stderr
    assert len(process.stderr.strip().splitlines()) <= 2  # at most a line of progress before it


def test_a_truncated_image_is_named_and_finished_rows_are_kept(
    base: list[str], easy_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(easy_data, folder)
    image = folder / "test/images/9.png"
    image.write_bytes(image.read_bytes()[:100])
    arguments = [f"dataset.path={folder}", base[1], "policy/baseline=always_full", "eval.chunk_rows=20"]
    process = command("eval", *arguments)
    assert process.returncode == 1
    assert "9.png cannot be decoded" in last_line(process)
    assert len(list((tmp_path / "runs/outcomes").glob("full-*/*.arrow"))) >= 2


@pytest.mark.slow
def test_train_sweep_and_baselines(base: list[str], tmp_path: Path) -> None:
    trained = command("train", *base, "training.epochs=5")
    assert trained.returncode == 0, trained.stderr
    assert "outputs: " in trained.stdout

    swept = command("eval", "-m", *base, "policy.lambda_cost=0,0.01,0.02,0.05,0.1", "name=sweep")
    assert swept.returncode == 0, swept.stderr
    folder = tmp_path / "runs/sweep"
    found = rows(folder / "results.csv")
    assert [float(r["lambda_cost"]) for r in found] == [0, 0.01, 0.02, 0.05, 0.1]
    costs = [float(r["avg_cost"]) for r in found]
    assert costs == sorted(costs, reverse=True)
    assert (folder / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((folder / "eval_matrix.json").read_text())) == 5
    checks = {c["name"]: c["passed"] for c in json.loads((folder / "summary.json").read_text())["checks"]}
    assert checks["easy_vqa, value: avg_cost never rises with lambda"]

    fixed = command("eval", "+experiment=b1_fixed", *base)
    assert fixed.returncode == 0, fixed.stderr
    (folder,) = (tmp_path / "runs").glob("b1_fixed-*")
    assert {r["baseline_name"] for r in rows(folder / "results.csv")} == {"always_full", "always_coarse", "no_vision"}
    assert all(c["passed"] for c in json.loads((folder / "summary.json").read_text())["checks"])


def test_jobs_that_fail_alike_are_one_line(base: list[str]) -> None:
    process = command("eval", "-m", *base, "policy.lambda_cost=0,0.1,0.2,0.3,0.4,0.5")
    assert process.returncode == 1
    assert process.stderr.count("no trained policy") == process.stdout.count("no trained policy") == 1
    assert " and 5 more jobs: " in process.stdout
    assert "job 6 of 6" not in process.stderr


def test_a_failing_job_does_not_take_the_sweep_with_it(base: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *base, "policy/baseline=always_coarse", "eval.max_samples=8,-1,16", "name=sweep"]
    process = command("eval", *arguments)
    assert process.returncode == 1
    assert "failed: " in process.stdout
    assert [r["num_samples"] for r in rows(tmp_path / "runs/sweep/results.csv")] in (["8", "16"], ["16", "8"])
    summary = json.loads((tmp_path / "runs/sweep/summary.json").read_text())
    assert summary["failed"] == 1
    (failed,) = [job for job in summary["jobs"] if job["error"]]
    assert "eval.max_samples=-1" in failed["overrides"]
    assert "eval.max_samples=-1 is refused" in failed["error"]


def test_a_wrong_launcher_leaves_an_earlier_sweeps_tables_alone(base: list[str], tmp_path: Path) -> None:
    sweep = ["-m", *base, "policy/baseline=no_vision", "eval.max_samples=4,8", "name=sweep"]
    assert command("eval", *sweep).returncode == 0
    table = (tmp_path / "runs/sweep/results.csv").read_bytes()
    process = command("eval", *sweep, "launcher=local", "launcher.jobs=0")
    assert process.returncode == 1
    assert last_line(process) == "error: launcher.jobs=0 is refused: input should be greater than 0"
    assert (tmp_path / "runs/sweep/results.csv").read_bytes() == table


def test_jobs_that_are_refused_alike_are_one_line(base: list[str], tmp_path: Path) -> None:
    process = command("eval", "-m", *base, "dataset.prompt_template=Hi", "eval.seed=0,1,2", "name=sweep")
    assert process.returncode == 1
    assert process.stdout.count("must contain {question}") == 1
    assert " and 2 more jobs: " in process.stdout


@pytest.mark.parametrize("option", ["--experimental-rerun", "--exp"])
def test_a_pickle_of_hydras_is_not_loaded(base: list[str], tmp_path: Path, option: str) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps({}))
    process = command("eval", *base, option, str(tmp_path / "config.pickle"))
    assert process.returncode == 1
    assert "would load a pickle" in last_line(process)


def test_a_sweep_that_was_begun_again_meanwhile_says_so(base: list[str], tmp_path: Path) -> None:
    given = ["policy/baseline=always_full,no_vision", "eval.max_samples=4", "name=sweep"]
    call = [sys.executable, "-m", "experiments.eval", "-m", *base, *given]
    process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    record = tmp_path / "runs/sweep/sweep.json"
    while not record.exists():  # its jobs have yet to import torch
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    record.write_text(json.dumps({"token": "another's", "launched": False, "jobs": []}))
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "error: the same sweep was begun again meanwhile; that one writes the tables" in errors


def test_a_sweep_without_a_job_is_refused(base: list[str]) -> None:
    process = command("eval", "-m", *base, "policy.lambda_cost=glob(*)")
    assert process.returncode == 1
    assert last_line(process).startswith("error: the sweep has no job")


def test_a_refused_configuration_leaves_no_folder(base: list[str], tmp_path: Path) -> None:
    process = command("eval", *base, "eval.max_samples=-1")
    assert (process.returncode, last_line(process)) == (
        1,
        "error: eval.max_samples=-1 is refused: input should be greater than 0",
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("entry", [name for name in commands() if name != "benchmark"])
def test_the_help_says_what_a_command_does_with_two_examples(entry: str) -> None:
    module = importlib.import_module(f"experiments.{entry}")
    examples = re.findall(rf"^python -m experiments\.{entry}\b(.*)$", module.__doc__, re.MULTILINE)
    assert len(examples) >= 2
    if entry != "ask":  # which takes its question literally
        for example in examples:
            words = [word for word in shlex.split(example) if word != "-m"]
            first = [word if "[" in word else word.partition(",")[0] for word in words]
            assert to_typed(composed(entry, first))


def test_help_begins_with_what_the_command_does() -> None:
    process = command("oracle", "--help")
    assert process.returncode == 0
    assert process.stdout.startswith("H1: the oracle, which knows every branch's outcome.\n")
    assert "policy/baseline: " in process.stdout


@pytest.mark.parametrize(
    ("entry", "more"),
    [("pipeline", ["+experiment=b1_fixed"]), ("pipeline", ["-m"]), ("store", ["-m"]), ("match", ["-m"])],
)
def test_what_is_not_swept_says_so_before_it_begins(
    base: list[str], tmp_path: Path, entry: str, more: list[str]
) -> None:
    process = command(entry, *more, *base)
    assert process.returncode == 1
    assert last_line(process).startswith(f"error: experiments.{entry} is not swept; leave out -m")
    assert not (tmp_path / "runs").exists()


def test_a_match_prints_its_ratios_whatever_the_launcher_and_fails_where_it_cannot(base: list[str]) -> None:
    ratios = "policy.baseline.target_ratios=[0.2,0.3,0.5]"
    process = command("match", *base, "launcher=local", ratios)
    assert (process.returncode, process.stderr) == (0, "")
    assert "policy.baseline.target_ratios=[0.200000,0.300000,0.500000]" in process.stdout
    for match in ("/nowhere", "/nowhere,/neither"):
        process = command("match", *base, "launcher=local", f"policy.baseline.match={match}")
        assert process.returncode == 1
        assert last_line(process).startswith("error: ")


def test_a_command_says_at_once_what_it_loads_and_an_interrupt_then_is_silent(tmp_path: Path) -> None:
    (tmp_path / "hydra.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    process = typed("eval", environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert (process.returncode, process.stdout, process.stderr) == (
        -signal.SIGINT,
        "",
        "eval: loading Hydra and the configuration\n",
    )


def test_an_interrupted_sweep_tells_what_it_has_not_come_to(base: list[str], tmp_path: Path) -> None:
    given = ["policy/baseline=no_vision", "eval.max_samples=4,8", "name=sweep"]
    call = [sys.executable, "-m", "experiments.eval", "-m", *base, *given]
    process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "runs/sweep").glob("*/job.json")):  # of the first job, which has yet to import torch
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted; the same command goes on where this one stopped" in said
    lines = {line["overrides"].split()[-2]: line["status"] for line in rows(tmp_path / "runs/sweep/jobs.csv")}
    assert lines.keys() == {"eval.max_samples=4", "eval.max_samples=8"}
    assert "interrupted" in lines["eval.max_samples=4"]
    assert lines["eval.max_samples=8"] == "the sweep was interrupted before it"
    assert "eval.max_samples=8" in output


def test_the_same_sweep_again_computes_nothing(base: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *base, "policy/baseline=always_coarse,no_vision", "name=sweep"]
    tables = []
    for _ in range(2):
        assert command("eval", *arguments).returncode == 0
        tables.append((tmp_path / "runs/sweep/results.csv").read_bytes())
        metadata = json.loads((tmp_path / "runs/sweep/summary.json").read_text())["metadata"]
        computed = [sum(job["rows_computed"].values()) for job in metadata.values()]
    assert tables[0] == tables[1]
    assert computed == [0, 0]


def test_a_job_may_read_its_number(base: list[str], tmp_path: Path) -> None:
    label = "dataset.label='part-${hydra.job.num}'"
    arguments = ["policy/baseline=no_vision,always_coarse", "eval.max_samples=4", "name=s"]
    process = command("eval", "-m", *base, *arguments, label)
    assert process.returncode == 0, process.stderr
    assert sorted(row["dataset_label"] for row in rows(tmp_path / "runs/s/results.csv")) == ["part-0", "part-1"]


def test_a_repeated_live_sweep_runs_only_what_failed(base: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *base, "policy/baseline=no_vision", "eval.mode=live", "eval.max_samples=4,-1", "name=sweep"]
    folder = tmp_path / "runs/sweep"
    seconds = []
    for _ in range(2):
        process = command("eval", *arguments)
        assert process.returncode == 1
        assert "eval.max_samples=-1 is refused" in process.stdout
        (done,) = json.loads((folder / "summary.json").read_text())["metadata"].values()
        seconds.append(done["wall_seconds"])
    assert seconds[0] == seconds[1]  # the first run's summary still stands
    assert "done already with the same inputs" in process.stderr
    kept, failed = sorted(rows(folder / "jobs.csv"), key=lambda line: line["status"])
    assert kept["status"] == "done"
    assert "eval.max_samples=4" in kept["overrides"].split()
    assert (folder / kept["folder"] / "results.csv").exists()
    assert "eval.max_samples=-1 is refused" in failed["status"]


def test_a_finished_training_is_kept_until_its_inputs_change(base: list[str], tmp_path: Path) -> None:
    arguments = [*base, "training.max_samples=60", "training.epochs=2", f"hydra.run.dir={tmp_path / 't'}"]
    written = []
    for more in ([], [], ["training.learning_rate=0.01"]):
        process = command("train", *arguments, *more)
        assert process.returncode == 0, process.stderr
        assert "trained on" in process.stdout
        written.append((tmp_path / "t/policy.safetensors").stat().st_mtime_ns)
    assert written[0] == written[1] < written[2]


def test_the_sweep_flag_may_stand_last(base: list[str], tmp_path: Path) -> None:
    process = command("eval", *base, "policy/baseline=no_vision,always_coarse", "eval.max_samples=4", "name=s", "-m")
    assert process.returncode == 0, process.stderr
    assert len(rows(tmp_path / "runs/s/results.csv")) == 2


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_an_unwritable_folder_is_named(easy_data: Path, sweep: list[str]) -> None:
    process = command("eval", *sweep, f"dataset.path={easy_data}", "paths.runs=/proc/nope", "policy/baseline=no_vision")
    assert process.returncode == 1
    assert "paths.runs" in last_line(process)
    assert "Traceback" not in process.stderr


def test_an_older_job_in_the_folder_is_no_part_of_a_new_sweep(base: list[str], tmp_path: Path) -> None:
    for samples in ("4,8", "16"):
        arguments = [*base, "policy/baseline=no_vision", f"eval.max_samples={samples}", "name=sweep"]
        assert command("eval", "-m", *arguments).returncode == 0
    assert [r["num_samples"] for r in rows(tmp_path / "runs/sweep/results.csv")] == ["16"]


def test_a_policy_of_another_backbone_is_refused(base: list[str], qwen3: Path, tmp_path: Path) -> None:
    small = ["training.max_samples=40", "training.epochs=1"]
    assert (
        command("train", *base, *small, f"backbone.path={qwen3}", "hydra.run.dir=" + str(tmp_path / "t")).returncode
        == 0
    )
    process = command("eval", *base, f"eval.checkpoint={tmp_path / 't'}")
    assert process.returncode == 1
    assert "belongs to backbone" in last_line(process)


@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
@pytest.mark.parametrize("order", ["text_first", "image_first"])
def test_local_model_folders_run(base: list[str], request: pytest.FixtureRequest, family: str, order: str) -> None:
    folder = request.getfixturevalue(family)
    arguments = [f"backbone.path={folder}", f"backbone.prompt_order={order}", "eval.max_samples=8", "eval.mode=live"]
    process = command("eval", *base, *arguments, "policy/baseline=always_full")
    assert process.returncode == 0, process.stderr
    assert "always_full" in process.stdout


def test_a_folder_with_spaces_and_quotes(easy_data: Path, tmp_path: Path) -> None:
    runs = tmp_path / "my runs, o'clock=1"
    quoted = "'" + str(runs).replace("'", "\\'") + "'"
    arguments = ["-m", f"dataset.path={easy_data}", f"paths.runs={quoted}", "policy/baseline=no_vision", "name=s"]
    process = command("eval", *arguments, "eval.max_samples=4")
    assert process.returncode == 0, process.stderr
    assert (runs / "s/results.csv").exists()


@pytest.mark.slow
def test_the_pipeline_merges_its_stages(base: list[str], tmp_path: Path) -> None:
    sizes = ("training.max_samples=40", "training.epochs=1", "eval.max_samples=12")
    process = command("pipeline", "dataset=easy_vqa", *base, "policy.lambda_cost=0.7", *sizes)
    assert process.returncode == 0, process.stderr
    folder = tmp_path / "runs/main"
    found = rows(folder / "results.csv")
    assert {r["lambda_cost"] for r in found} == {"0.7", ""}  # what the user says wins over the stage's own
    for file in (folder / "train").glob("*/summary.json"):
        trained = json.loads(file.read_text())
        assert trained["train_samples"] + trained["val_samples"] == 40
    assert {r["procedure"] for r in found} == {"one_step", "sequential", ""}
    assert "stage 1 of 3\n" in process.stdout
    assert "stage 3 of 3, about " in process.stdout
    assert f"picture: {folder / 'frontier.png'}\nnext: python -m experiments.report" in process.stdout
    names = {r["baseline_name"] for r in found}
    assert names == {"", "always_full", "always_coarse", "no_vision"}
    assert (folder / "frontier.png").exists()
    assert json.loads((folder / "summary.json").read_text())["checks"]


def test_a_stage_ends_with_its_pipeline(base: list[str], tmp_path: Path) -> None:
    """A pipeline that is killed leaves no process that goes on computing."""
    call = [sys.executable, "-m", "experiments.pipeline", "dataset=easy_vqa", *base]
    process = subprocess.Popen(call, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    place = tmp_path / "runs/main/train"
    assert soon(lambda: any(place.glob("*/job.json")))
    (record,) = place.glob("*/job.json")
    stage = json.loads(record.read_text())["process"]
    process.kill()
    process.wait()
    assert soon(lambda: not runs(stage))
    assert json.loads(record.read_text())["status"] == "running"  # it did not end by itself


def runs(process: int) -> bool:
    """Whether it computes still; one that nobody has waited for yet (Z) does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def soon(happened: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it happens in time."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()


def test_the_store_lists_and_prunes(base: list[str], tmp_path: Path) -> None:
    assert command("eval", *base, "policy/baseline=no_vision", "eval.max_samples=8").returncode == 0
    listed = command("store", *base)
    assert "no-" in listed.stdout
    assert "easy_vqa/test" in listed.stdout
    shown = command("store", *base, "store.prune=no-")
    assert "would delete" in shown.stdout
    assert list((tmp_path / "runs/outcomes").glob("no-*"))
    assert command("store", *base, "store.prune=no-", "store.confirm=true").returncode == 0
    assert not list((tmp_path / "runs/outcomes").glob("no-*"))
    wrong = command("store", *base, "store.prune=xyz")
    assert wrong.returncode == 1
    assert "no table" in last_line(wrong)


def test_prepare_finds_what_was_slipped_in(base: list[str], easy_data: Path, tmp_path: Path) -> None:
    clean = command("prepare", *base)
    assert clean.returncode == 0, clean.stderr
    assert "nothing shared" in clean.stdout
    folder = tmp_path / "leaky"
    shutil.copytree(easy_data, folder)
    shutil.copy(folder / "test/images/3.png", folder / "train/images/7.png")
    leaky = command("prepare", f"dataset.path={folder}", base[1])
    assert leaky.returncode == 1
    assert "by image" in leaky.stderr
    assert "7.png" in leaky.stderr
    trained = command("train", f"dataset.path={folder}", base[1])
    assert trained.returncode == 1
    assert "is in the training data" in trained.stderr
    written = [f"prepare.out={tmp_path / 'out'}", "prepare.drop=true"]
    dropped = command("prepare", f"dataset.path={folder}", base[1], *written)
    assert dropped.returncode == 0, dropped.stderr
    foreign = command("prepare", f"dataset.path={easy_data}", base[1], f"prepare.out={folder}")
    assert foreign.returncode == 1
    assert "holds something else, which would be removed" in last_line(foreign)
    assert (folder / "train/images/7.png").exists()
    lines = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    assert lines
    assert all(line["group"] != "7" for line in lines)
    assert all((tmp_path / "out" / name).exists() for line in lines for name in line["image"])


@pytest.mark.slow
def test_leaks_are_recorded_where_they_are_allowed(base: list[str], easy_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "leaky"
    shutil.copytree(easy_data, folder)
    shutil.copy(folder / "test/images/3.png", folder / "train/images/7.png")
    arguments = [f"dataset.path={folder}", base[1], "leaks.allow=[image]"]
    assert command("train", *arguments, "training.epochs=1").returncode == 0
    assert command("eval", *arguments, "eval.max_samples=8").returncode == 0
    refused = command("eval", *arguments[:2], "eval.max_samples=8")
    assert refused.returncode == 1
    assert "leaks.allow" in refused.stderr
    for path in (tmp_path / "runs").glob("*/*/summary.json"):
        (guard,) = json.loads(path.read_text())["leak_guard"]
        assert (guard["passed"], guard["allowed"]) == (False, ["image"])
