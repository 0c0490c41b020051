"""Damaged results: a report, a match or a calibration says which file, and what to run again."""

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Configure
from vovnet.errors import VoVNetError
from vovnet.report.runs import find_runs
from vovnet.results.evaluate import evaluate
from vovnet.results.existing import existing_summary
from vovnet.results.matching import bucket_ratios, matched_row
from vovnet.results.read import read_answers, read_predictions, read_results, read_summary

Change = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def finished(easy_data: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.composer import small_configurations

    folder = tmp_path_factory.mktemp("finished")
    configure: Configure = small_configurations(easy_data, qwen3, folder / "runs")
    config = configure("policy/baseline=uncertainty_threshold", "policy.baseline.threshold=1", "eval.max_samples=8")
    evaluate(config, folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def cell(column: str, value: str) -> Change:
    def change(content: bytes) -> bytes:
        header, row = list(csv.reader(io.StringIO(content.decode())))[:2]
        row[header.index(column)] = value
        changed = io.StringIO()
        csv.writer(changed).writerows([header, row])
        return changed.getvalue().encode()

    return change


@pytest.mark.parametrize(
    "change",
    [
        cut,
        lambda b: b"",
        lambda b: b.splitlines()[0],
        lambda b: b"\xff\xfe" + b,
        lambda b: b.replace(b"accuracy,", b"acuracy,", 1),
        lambda b: b.replace(b",False,", b",perhaps,").replace(b",True,", b",perhaps,"),
        cell("num_samples", "many"),
        cell("num_samples", ""),
        cell("threshold", "x"),
        cell("accuracy", "nan"),
        cell("accuracy", "5"),
        cell("avg_cost", "inf"),
        cell("action_rate_no", "0.5"),
        cell("action_rate_full", "-1"),
        cell("num_samples", "-20"),
        cell("num_samples", "0"),
        cell("avg_cost", "-0.1"),
        cell("threshold", "-1"),
        cell("accuracy_ci_low", "0.99"),
        cell("unparsed_rate", "2"),
        cell("refusal_rate", "-1"),
        cell("baseline_name", ""),  # VoVNet's own has a lambda
        lambda b: b"a,b\n1,2\n",
        lambda b: b"[" * 1000,
        lambda b: b.replace(b"\neasy_vqa,", b'\n"easy_vqa,') + b.splitlines()[1].replace(b"easy_vqa", b'vqa"', 1),
        lambda b: b.replace(b"\neasy_vqa,", b'\n"easy" vqa,'),
        lambda b: b.replace(b"\n", b",more\n").replace(b",more\n", b"\n", 1),
    ],
)
def test_a_damaged_table_is_named(run: Path, change: Change) -> None:
    path = run / "results.csv"
    path.write_bytes(change(path.read_bytes()))
    reads = (lambda: read_results(path), lambda: find_runs([run]), lambda: matched_row(run, None, "easy_vqa", "test"))
    for read in reads:
        with pytest.raises(VoVNetError, match=r"results.csv.*; run the evaluation again") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        cut, lambda b: b"", lambda b: b"[1]", lambda b: b"null", lambda b: b"[" * 100_000, lambda b: b"\xff" + b,
        lambda b: b.replace(b'"fingerprint"', b'"fingerprints"'),
        lambda b: b.replace(b'"config": {', b'"config_": {', 1),
        lambda b: json.dumps(json.loads(b) | {"dataset": 5}).encode(),
        lambda b: json.dumps(json.loads(b) | {"checks": [5]}).encode(),
        lambda b: json.dumps(json.loads(b) | {"config": {"dataset": None}}).encode(),
    ],
)  # fmt: skip
def test_a_damaged_summary_is_named(run: Path, change: Change) -> None:
    path = run / "summary.json"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(VoVNetError, match=r"summary.json.*run that"):
        find_runs([run])


@pytest.mark.parametrize(
    "change",
    [
        cut,
        lambda b: b"\n".join(b.splitlines()[:-1]) + b"\n",
        lambda b: b"",
        lambda b: b"1\n" * 8,
        lambda b: b"\xff\n" * 8,
        lambda b: b.replace(b'"action": "', b'"action": "x', 1),
        lambda b: b.replace(b'"score"', b'"scores"'),
        lambda b: b.replace(b'"score": ', b'"score": 5, "was": ', 1),
        lambda b: b.replace(b'"score": ', b'"score": null, "was": ', 1),
        lambda b: b.replace(b'"score": ', b'"score": "x", "was": ', 1),
        lambda b: b.replace(b'"id": "0"', b'"id": [1]', 1),
        lambda b: b.replace(b'"cost": ', b'"values": {"no": 1, "full": 1}, "cost": ', 1),
        lambda b: b.replace(b'"cost": ', b'"values": {"no": NaN, "coarse": 0, "full": 1}, "cost": '),
        lambda b: b.replace(b'"cost": ', b'"values": {"full": 0, "coarse": 0, "no": 1}, "cost": '),
        lambda b: b.replace(b'"cost": ', b'"cost": -1, "was": ', 1),
        lambda b: b.replace(b'"cost": ', b'"cost": null, "was": ', 1),
        lambda b: b.replace(b'"cost": ', b'"cost": 0.123, "was": ', 1),
        lambda b: b.replace(b'"score": 1.0', b'"score": 0.5', 1).replace(b'"score": 0.0', b'"score": 0.4', 1),
        lambda b: b.replace(b'"action": "full"', b'"action": "coarse"', 1).replace(b'"no"', b'"coarse"', 1),
        lambda b: b"\n".join([b.splitlines()[0], *b.splitlines()[:-1]]) + b"\n",
    ],
)
def test_damaged_predictions_are_named(run: Path, change: Change) -> None:
    path = run / "predictions.jsonl"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(
        VoVNetError,
        match=r"predictions.jsonl (is damaged|holds 7 of 8|holds an? (score|cost|sample|id|value)|comes to).*again",
    ):
        find_runs([run]).runs[0].predictions  # noqa: B018


def test_a_table_and_a_summary_of_different_runs_are_told_apart(run: Path) -> None:
    path = run / "results.csv"
    path.write_bytes(cell("avg_cost", "0.25")(path.read_bytes()))
    with pytest.raises(VoVNetError, match="tell different results; run that evaluation again"):
        find_runs([run])


@pytest.mark.parametrize(
    "change",
    [cut, lambda b: b"", lambda b: b"1\n" * 8, lambda b: b.replace(b'"action": "', b'"action": null, "was": "')],
)
def test_a_damaged_match_is_named(run: Path, change: Change) -> None:
    path = run / "predictions.jsonl"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(VoVNetError, match=r"predictions.jsonl (is damaged|has no entropy)"):
        bucket_ratios(run)


def test_a_text_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    said = "one\u2028two\x85three\x0cfour\rfive"
    (tmp_path / "predictions.jsonl").write_bytes(json.dumps({"prediction": said}, ensure_ascii=False).encode() + b"\n")
    assert read_predictions(tmp_path) == [{"prediction": said}]


def test_the_file_that_is_there_is_named(run: Path) -> None:
    """A sweep's job has compressed its predictions."""
    (run / "predictions.jsonl").rename(run / "kept")
    with gzip.open(run / "predictions.jsonl.gz", "wt") as file:
        file.write('{"id": "a"}\n')
    with gzip.open(run.parent / "questions.jsonl.gz", "wt") as file:
        file.write('{"id": "a"}\n')
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"questions": "questions.jsonl.gz"}))
    with pytest.raises(VoVNetError, match=r"predictions.jsonl.gz is damaged"):
        find_runs([run]).runs[0].predictions  # noqa: B018
    with pytest.raises(VoVNetError, match=r"predictions.jsonl.gz is damaged"):
        read_answers(run)


def test_predictions_without_a_text_pass_match_nothing(run: Path) -> None:
    path = run / "predictions.jsonl"
    lines = [json.loads(line) | {"entropy": None} for line in path.read_text().splitlines()]
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(VoVNetError, match="has no entropy of a text pass"):
        bucket_ratios(run)


@pytest.mark.parametrize("content", ["[]", "{", "null", "[" * 100_000])
def test_a_damaged_summary_stands_for_no_run(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "summary.json").write_text(content)
    assert existing_summary(tmp_path, "key", None) is None
    assert "summary.json is damaged" in caplog.text
    with pytest.raises(VoVNetError, match=r"summary.json cannot be read .* remove"):
        read_summary(tmp_path)
