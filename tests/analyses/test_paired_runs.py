"""Half precision beside float32, from the results of a sweep."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Configure
from tests.policy.test_route import policy_file
from vovnet.analyses.paired_runs import precision_lines
from vovnet.checks.blocks import precision_checks
from vovnet.errors import VoVNetError
from vovnet.results.columns import ResultRow
from vovnet.results.evaluate import evaluate

Results = list[tuple[ResultRow, Path]]


@pytest.fixture
def results(configure: Configure, tmp_path: Path) -> Results:
    """One policy in both precisions, and always_full in one."""
    given = ("eval.max_samples=48", f"eval.checkpoint={policy_file(configure(), tmp_path / 'policy.safetensors')}")
    kinds = {"float32": given, "bfloat16": given, "full": ("eval.max_samples=48", "policy/baseline=always_full")}
    found = []
    for name, keys in kinds.items():
        dtype = "float32" if name == "full" else name
        row = evaluate(configure(*keys, f"backbone.dtype={dtype}"), tmp_path / name).row
        found.append((row, tmp_path / name))
    return found


def predictions(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_what_is_alike_is_counted(results: Results) -> None:
    (line,) = precision_lines(results)
    exact, half = (predictions(folder) for _, folder in results[:2])
    for column, name in (("same_action", "action"), ("same_answer", "prediction")):
        assert line[column] == sum(a[name] == b[name] for a, b in zip(exact, half, strict=True)) / 48
    assert (line["dtype"], line["num_samples"], line["accuracy_float32"]) == ("bfloat16", 48, results[0][0].accuracy)
    (check,) = precision_checks([line | {"same_action": 0.97}])
    assert check.passed
    (check,) = precision_checks([line | {"same_action": 0.96}])
    assert not check.passed
    assert "bfloat16 acts as float32" in check.name


def test_other_settings_are_not_held_against_each_other(results: Results) -> None:
    (exact, folder), (half, other), _ = results
    assert precision_lines([(exact, folder), (replace(half, lambda_cost=0.9), other)]) == []
    assert precision_lines([(half, other), (replace(half, dtype="float16"), other)]) == []
    twice = [(exact, folder), (replace(exact, config_hash="another"), folder), (half, other)]
    assert precision_lines(twice) == []  # no column tells the two apart


def test_predictions_that_cannot_be_compared(results: Results) -> None:
    file = results[1][1] / "predictions.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(VoVNetError, match="answers other questions than"):
        precision_lines(results)
    file.write_text(lines[0][:10])
    with pytest.raises(VoVNetError, match=r"is damaged in line 1; run the evaluation again"):
        precision_lines(results)


def test_results_say_their_precision(results: Results) -> None:
    with (results[1][1] / "results.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["dtype"] == "bfloat16"
