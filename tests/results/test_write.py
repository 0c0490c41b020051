"""The files of a run."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure
from vovnet.actions import USUAL
from vovnet.errors import VoVNetError
from vovnet.jobs import begin_sweep
from vovnet.report.table import rows_view
from vovnet.results.columns import COLUMNS
from vovnet.results.evaluate import evaluate
from vovnet.results.read import read_predictions, read_results
from vovnet.results.write import json_line, without_formulas, write_predictions, write_results
from vovnet.session import Session

CONTRACT = (
    "dataset split metric num_samples seed baseline_name objective feature_mode action_space lambda_cost threshold "
    "uncertainty_metric vision_mode pruning_ratio pruning_mode remaining_vision_tokens fallback_mode "
    "fallback_trigger_rate action_ratio action_rate_no action_rate_coarse action_rate_full accuracy accuracy_ci_low "
    "accuracy_ci_high avg_cost avg_vision_tokens avg_text_tokens prefill_gflops latency_p50_ms latency_p90_ms "
    "mem_peak_mb ece unparsed_rate refusal_rate scoring_rule cache_reuse prompt_order backbone checkpoint config_hash"
).split()


@pytest.fixture
def folder(configure: Configure, tmp_path: Path) -> Path:
    evaluate(configure("policy/baseline=always_coarse", "eval.max_samples=20"), tmp_path / "run")
    return tmp_path / "run"


def test_results_csv_has_the_contracts_columns(folder: Path) -> None:
    assert set(CONTRACT) <= set(COLUMNS)
    with (folder / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == COLUMNS
    assert json.loads(row["action_ratio"]) == [0, 1, 0]
    assert (row["baseline_name"], row["num_samples"], row["lambda_cost"]) == ("always_coarse", "20", "")


@pytest.mark.parametrize(("changed", "stands"), [(False, True), (True, False)])
def test_no_summary_stands_beside_the_files_of_another_result(
    configure: Configure, folder: Path, changed: bool, stands: bool
) -> None:
    """An evaluation that ends among its files leaves none that do not belong together."""
    if changed:
        summary = json.loads((folder / "summary.json").read_text())
        summary["result"]["accuracy"] += 0.1
        (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "predictions.jsonl").unlink()
    (folder / "predictions.jsonl/in the way").mkdir(parents=True)
    with pytest.raises((VoVNetError, OSError), match=r"predictions\.jsonl"):
        evaluate(configure("policy/baseline=always_coarse", "eval.max_samples=20"), folder)
    assert (folder / "summary.json").exists() == stands


def test_rows_survive_a_round_trip(folder: Path, tmp_path: Path) -> None:
    rows = read_results(folder / "results.csv")
    write_results(tmp_path / "again.csv", rows)
    assert (tmp_path / "again.csv").read_bytes() == (folder / "results.csv").read_bytes()
    assert read_results(tmp_path / "again.csv") == rows


def test_summary_says_where_the_result_comes_from(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["config"]["policy"]["baseline"]["name"] == "always_coarse"
    assert len(summary["dataset"]["fingerprint"]) == len(summary["backbone"]["fingerprint"]) == 64
    assert summary["config_hash"] == summary["result"]["config_hash"]
    assert {"torch", "transformers", "lightning"} <= set(summary["versions"])
    assert all(summary["versions"][name] for name in ("pillow", "libjpeg", "tokenizers", "numpy", "jinja2"))
    assert {len(digest) for digest in summary["reading"].values()} == {16}
    assert summary["wall_seconds"] > 0
    assert summary["checks"][0] == {
        "name": "always_coarse: action_ratio is [0.0, 1.0, 0.0]",
        "passed": True,
        "observed": "[0.0, 1.0, 0.0]",
    }
    assert "git_commit" in summary


def test_predictions_have_a_line_per_sample(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [str(i) for i in range(20)]
    assert {"action", "prediction", "score", "cost"} <= set(lines[0])
    assert {"question", "options", "answers"} <= set(lines[0])  # so that they can be read alone
    (row,) = read_results(folder / "results.csv")
    assert sum(line["score"] for line in lines) / 20 == pytest.approx(row.accuracy)
    assert sum(line["cost"] for line in lines) / 20 == pytest.approx(row.avg_cost)


def test_jobs_of_a_sweep_write_their_questions_once(configure: Configure, folder: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    begin_sweep(sweep, "token", [])
    for name in ("always_coarse", "no_vision"):
        evaluate(configure(f"policy/baseline={name}", "eval.max_samples=20"), sweep / name)
    assert read_predictions(sweep / "always_coarse") == read_predictions(folder)
    assert {path.name for path in sweep.rglob("predictions*")} == {"predictions.jsonl.gz"}
    (questions,) = sweep.glob("questions-*.jsonl.gz")
    with gzip.open(questions, "rt") as file:
        assert [json.loads(line)["id"] for line in file] == [str(i) for i in range(20)]
    with gzip.open(sweep / "no_vision/predictions.jsonl.gz", "rt") as file:
        assert not {"question", "options", "answers", "group"} & set(json.loads(next(file)))
    write_lines(questions, 19)
    with pytest.raises(VoVNetError, match=r"damaged, questions-\w+.jsonl.gz holds other questions; run .* again"):
        read_predictions(sweep / "no_vision")
    questions.unlink()
    with pytest.raises(VoVNetError, match=r"questions-\w+.jsonl.gz cannot be read"):
        read_predictions(sweep / "no_vision")


def test_a_job_leaves_few_bytes_a_question(configure: Configure, tmp_path: Path) -> None:
    """Random estimates compress worse than any policy's: the other files of a job add about 9 bytes of 2,000."""
    found = evaluate(configure("policy/baseline=always_coarse", "eval.max_samples=20"), tmp_path / "run")
    rng, begun = np.random.default_rng(0), found.routed
    rows = rng.integers(0, 20, 2000)
    routed = replace(
        begun,
        actions=begun.actions[rows],
        chosen=begun.chosen.take(rows),
        cost=begun.cost[rows],
        **dict(zip(("entropy", "margin"), rng.random((2, 2000)), strict=True)),
        values=rng.random((2000, 3)),
    )
    ids = [f'"{place // 3}_{place % 3}"' for place in range(2000)]
    split = replace(found.split, ids=ids, questions=[f'"id": {one}, "question": "?"' for one in ids])
    begin_sweep(tmp_path / "sweep", "token", [])
    write_predictions(tmp_path / "sweep/job", split, routed, USUAL, Session())
    assert len(read_lines(tmp_path / "sweep/job/predictions.jsonl.gz")) == 2000
    assert (tmp_path / "sweep/job/predictions.jsonl.gz").stat().st_size < 30 * 2000


def read_lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def write_lines(path: Path, count: int) -> None:
    """Cut a compressed text."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:count])))


def test_a_data_sets_label_is_shown_and_changes_no_result(configure: Configure, folder: Path, tmp_path: Path) -> None:
    config = configure("policy/baseline=always_coarse", "eval.max_samples=20", "dataset.label=Coloured shapes")
    row, (plain,) = evaluate(config, tmp_path / "labelled").row, read_results(folder / "results.csv")
    assert (plain.shown_dataset, row.shown_dataset) == ("easy_vqa/test", "Coloured shapes/test")
    assert (row.dataset, row.config_hash) == (plain.dataset, plain.config_hash)
    assert rows_view([row])[1][0]["dataset"] == "Coloured shapes/test"
    assert read_results(tmp_path / "labelled/results.csv") == [row]


def test_unreadable_results_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(VoVNetError, match="cannot be read"):
        read_results(tmp_path / "none.csv")
    text = (folder / "results.csv").read_text()
    (tmp_path / "short.csv").write_text(text.replace("accuracy,", "acc,", 1))
    with pytest.raises(VoVNetError, match="lacks the column accuracy"):
        read_results(tmp_path / "short.csv")
    (tmp_path / "wrong.csv").write_text(text.replace("\neasy_vqa,test,exact_match,20", "\neasy_vqa,test,exact_match,x"))
    with pytest.raises(VoVNetError, match=r"line 2: num_samples='x'"):
        read_results(tmp_path / "wrong.csv")


def test_a_text_out_of_a_data_set_is_no_formula_for_a_spreadsheet() -> None:
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a=1", "", "λ"]
    assert [row["category"] for row in without_formulas([{"category": cell, "score": -1.0} for cell in cells])] == [
        *(f"'{cell}" for cell in cells[:6]),
        *cells[6:],
    ]
    assert without_formulas([{"score": -1.0}]) == [{"score": -1.0}]  # numbers stay numbers


@given(st.text())
def test_a_line_of_json_is_one_line_whatever_the_text(text: str) -> None:
    line = json_line({"prediction": text, "separators": "\u2028\u2029\x85\x0b\x1c"})
    assert len(line.splitlines()) == 1
    assert json.loads(line)["prediction"] == text
