"""The page of a pipeline says of every stage what was typed, what was checked and what came of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.test_columns import ROW
from vovnet.report.stages import MOST, write_stages
from vovnet.results.write import write_results
from vovnet.schema import Stage


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "all"


def stage(name: str, *overrides: str, entry: str = "eval", sweep: bool = True) -> Stage:
    return Stage(name=name, entry=entry, sweep=sweep, overrides=[*overrides])


def page(folder: Path, *stages: Stage, given: tuple[str, ...] = ()) -> str:
    return write_stages(folder, stages, given).read_text(encoding="utf-8")


def test_a_stage_has_its_command_its_check_points_and_its_results(folder: Path) -> None:
    write_results(folder / "lambda/results.csv", [ROW, replace(ROW, accuracy=0.45)])
    checks = [{"name": "cost never rises", "passed": False, "observed": "0.1 0.2"}]
    (folder / "lambda/summary.json").write_text(json.dumps({"checks": checks}))
    text = page(
        folder, stage("lambda", "policy.lambda_cost=0,0.1", "eval.checkpoint={folder}/train", "policy.looks=[no]")
    )
    (command,) = [line for line in text.splitlines() if line.startswith("python")]
    assert command.removeprefix("python -m experiments.eval -m ") == (
        "policy.lambda_cost=0,0.1 eval.checkpoint=runs/all/train 'policy.looks=[no]'"
    )
    assert "- **FAIL**: cost never rises: 0.1 0.2\n" in text
    assert [text.count(f"| {accuracy} |") for accuracy in ("0.5000", "0.4500")] == [1, 1]


def test_what_every_stage_got_besides_is_said_once(folder: Path) -> None:
    assert page(folder, stage("a"), stage("b"), given=("eval.max_samples=50",)).count("eval.max_samples=50") == 1


def test_a_pipeline_in_a_pipeline_is_a_section(folder: Path) -> None:
    page(folder / "inner", stage("seeds"))
    lines = page(folder, stage("before"), stage("inner", entry="pipeline", sweep=False)).splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# all", "## before", "## inner", "### seeds"]


def test_a_long_table_is_named_by_its_file(folder: Path) -> None:
    write_results(folder / "many/results.csv", [replace(ROW, seed=seed) for seed in range(MOST + 1)])
    assert f"{MOST + 1} lines: `runs/all/many/results.csv`" in page(folder, stage("many"))


def test_tables_of_blocks_keep_four_digits(folder: Path) -> None:
    (folder / "half").mkdir(parents=True)
    (folder / "half/precision.csv").write_text("dataset,dtype,num_samples,same_action\nmini,bfloat16,800,0.99875\n")
    assert "| mini | bfloat16 | 800 | 0.9988 |" in page(folder, stage("half"))
