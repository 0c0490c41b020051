"""A run that measured nothing says so: on the terminal, in its check points, in tables and on the report's page."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Configure
from vovnet.checks.check import readable_check, readable_checks, unread_sets, unreadable_sentence
from vovnet.report.table import print_rows
from vovnet.report.tables import MAIN_VIEW, markdown, with_unreadable
from vovnet.results.columns import DESCRIBED, ESSENTIAL, ResultRow
from vovnet.results.evaluate import evaluate
from vovnet.results.sweep import write_merged
from vovnet.scoring.official import OfficialScores


@pytest.fixture(scope="module")
def row() -> ResultRow:
    """Any row, all of whose answers were read."""
    of_type = {str: "x", int: 1, float: 0.0}
    values = {name: of_type[one.kinds[0]] if name in ESSENTIAL else one.default for name, one in DESCRIBED.items()}
    return ResultRow(**{**values, "dataset": "easy_vqa", "baseline_name": "always_full", "mode": "replay"})


@pytest.mark.parametrize("mode", ["replay", "live"])
def test_an_untrained_model_is_said_to_be_unreadable(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    overrides = ("policy/baseline=always_full", "eval.max_samples=20", "eval.max_new_tokens=4", f"eval.mode={mode}")
    found = evaluate(configure(*overrides), tmp_path).row
    assert found.unparsed_rate > 0.5
    assert found.unparsed_cut_rate > 0.5 * found.unparsed_rate
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and "read" in r.getMessage()]
    assert said.startswith(f"easy_vqa: {found.unparsed_rate:.1%} of the answers could not be read and score 0")
    assert "eval.max_new_tokens" in said
    assert "\n" not in said
    checks = json.loads((tmp_path / "summary.json").read_text())["checks"]
    assert readable_check(found).as_json() in checks
    assert not readable_check(found).passed


@pytest.mark.parametrize(("rate", "passes"), [(0.0, True), (0.1, True), (0.1001, False), (1.0, False)])
def test_a_tenth_passes(row: ResultRow, rate: float, passes: bool) -> None:
    one = replace(row, unparsed_rate=rate)
    assert readable_check(one).passed is passes
    assert (unreadable_sentence([one]) == "") is passes
    assert (readable_checks([one]) == []) is passes


def test_the_cause_is_named_where_it_is_known(row: ResultRow) -> None:
    cut, other = (replace(row, unparsed_rate=0.6, unparsed_cut_rate=rate) for rate in (0.4, 0.2))
    assert "eval.max_new_tokens" in unreadable_sentence([cut])
    assert "eval.max_new_tokens" not in unreadable_sentence([other])
    assert "the predictions show them" in unreadable_sentence([other])


def test_a_table_of_several_runs_names_those_that_measured_nothing(
    row: ResultRow, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row, replace(row, baseline_name="no_vision", unparsed_rate=0.9)]
    write_merged(tmp_path, rows)
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said.startswith("1 of 2 rows say little about the model (easy_vqa no_vision)")
    (check,) = [c for c in json.loads((tmp_path / "summary.json").read_text())["checks"] if "unreadable" in c["name"]]
    assert not check["passed"]
    print_rows(rows, tmp_path)
    shown = capsys.readouterr().out
    assert "unreadable" in shown
    assert "90.0%" in shown
    print_rows(rows[:1], tmp_path)
    assert "unreadable" not in capsys.readouterr().out


def test_the_reports_table_shows_it_where_it_matters() -> None:
    line = {column.name: 0.5 for column in MAIN_VIEW}
    read, unread = line | {"unparsed_rate": 0.0}, line | {"unparsed_rate": 0.4}
    assert "unreadable" not in markdown([read], with_unreadable(MAIN_VIEW, [read]))
    assert "0.40" in markdown([read, unread], with_unreadable(MAIN_VIEW, [read, unread]))


def test_a_set_that_is_read_hides_no_other_one(caplog: pytest.LogCaptureFixture) -> None:
    read = OfficialScores("accuracy", 0.5, 0.5, None, None, 0.0, {}, {}, 900)
    (check,) = unread_sets({"read": read, "cut": replace(read, unparsed_rate=1.0, samples=50)})
    assert (check.name.split(":")[0], check.passed) == ("cut", False)
    assert "cut 100.0%" in caplog.text
    assert unread_sets({"cut": replace(read, unparsed_rate=1.0)}) == []  # the run's own check says it
