"""Tables on the terminal show what other people's files say as it is: neither markup nor control characters act."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.table import Table

from vovnet.report.labels import setting
from vovnet.report.report import write_report
from vovnet.report.table import PlainConsole, print_checks_of, print_report, print_rows
from vovnet.results.read import read_results
from vovnet.schema import ReportConfig

HOSTILE = "\x1b[31mred\x1b[0m\x07\r\x9b2J\u202e [bold]b[/] [/nothing] :smile: \ud800"
RAW = "\x1b\x07\r\x9b\u202e\ud800"


def test_a_table_reads_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(box=None)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console = PlainConsole(width=200)
    console.print(table)
    console.print(HOSTILE)
    seen = capsys.readouterr().out
    assert not set(RAW) & set(seen)
    assert seen.count("\\x1b[31mred") == seen.count("[bold]b[/] [/nothing] :smile:") == 3


def test_a_row_of_anothers_results_is_shown_as_it_is(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = read_results(runs / "full/results.csv")
    print_rows([replace(row, dataset=HOSTILE, baseline_name=HOSTILE, policy=HOSTILE)], Path(f"/tmp/{HOSTILE}"))
    seen = capsys.readouterr().out
    assert not set(RAW) & set(seen)
    assert seen.count("[/nothing]") == 3


def test_a_policy_of_another_set_is_named_with_it(runs: Path) -> None:
    (row,) = read_results(runs / "vovnet_0.1/results.csv")
    assert (row.dataset, row.trained_on) == ("easy_vqa", "easy_vqa")
    assert setting(row) == "VoVNet λ=0.1"
    assert setting(replace(row, trained_on="mini")) == "VoVNet λ=0.1 trained on mini"


def test_check_points_are_printed_and_of_many_those_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [{"name": f"check {place}", "passed": place != 3, "observed": "seen"} for place in range(13)]
    for count, lines in ((4, 4), (13, 2)):
        (tmp_path / "summary.json").write_text(json.dumps({"checks": checks[:count]}))
        print_checks_of(tmp_path)
        seen = capsys.readouterr().out.splitlines()
        assert len(seen) == lines
        assert "FAIL  check 3: seen" in seen
    assert seen[-1] == "12 of 13 check points passed"


def test_a_report_of_anothers_runs_is_shown_as_it_is(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "full", tmp_path / "runs/full")
    path = tmp_path / "runs/full/summary.json"
    summary = json.loads(path.read_text())
    summary["checks"] = [{"name": "\x1b[2J[/x]", "passed": False, "observed": "\x1b[31m[red]"}]
    path.write_text(json.dumps(summary))
    (tmp_path / "runs/odd").mkdir()
    (tmp_path / "runs/odd/job.json").write_text(json.dumps({"status": "failed", "error": "\x1b[8m[/]"}))
    limits = ReportConfig(samples=10, image_megabytes=1.0)
    print_report(write_report([tmp_path / "runs"], str(tmp_path / "none"), limits, tmp_path / "out"), tmp_path)
    seen = capsys.readouterr().out
    assert "\x1b" not in seen
    assert "\\x1b[2J[/x]: \\x1b[31m[red]" in seen
    assert "odd: \\x1b[8m[/]" in seen
