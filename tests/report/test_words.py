"""What people read where something went wrong, or was not counted."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.composer import composed
from tests.report.test_report import LIMITS
from vovnet.arguments import flags_first
from vovnet.command import BeforeWriting
from vovnet.compose import to_typed
from vovnet.errors import VoVNetError
from vovnet.explain import exit_status_of
from vovnet.report.report import write_report
from vovnet.report.runs import REASONS, find_runs
from vovnet.report.table import print_report, print_rows
from vovnet.results.read import read_results
from vovnet.results.sweep import Job
from vovnet.sweep_batch import write_plain


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ("a=1 -m b=1,2", "-m a=1 b=1,2"),
        ("a=1 --config-dir conf b=2", "--config-dir conf a=1 b=2"),
        ("a=1 -cd conf --multirun b=2", "-cd conf --multirun a=1 b=2"),
        ("a=1 --config-dir=conf b=2", "--config-dir=conf a=1 b=2"),
        ("a=1 --cfg job -p eval b=-1", "--cfg job -p eval a=1 b=-1"),
        ("~logger +b=2", "~logger +b=2"),
    ],
)
def test_flags_may_stand_among_the_overrides(given: str, first: str) -> None:
    assert flags_first(given.split()) == first.split()


def broken(folder: Path, **record: object) -> None:
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(record))


def test_failed_folders_are_one_line_for_each_reason(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "full", tmp_path / "all/full")
    for number in range(1200):
        broken(tmp_path / f"all/bad/{number:04d}", status="running")
    (said,) = find_runs([tmp_path / "all"]).unfinished
    assert said == "all/bad/0000 and 1,199 more folders: half-written, the job was running"
    for number in range(REASONS + 2):
        broken(tmp_path / f"all/worse/{number}", status="failed", error=f"reason {number}")
    *_, last = found = find_runs([tmp_path / "all"]).unfinished
    assert (len(found), last) == (REASONS + 1, "3 more folders for 3 other reasons")


def test_a_command_that_leaves_no_result_is_not_half_written(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "full", tmp_path / "full")
    broken(tmp_path / "store", status="done", overrides=[])
    assert find_runs([tmp_path]).unfinished == ()
    (tmp_path / "full/summary.json").unlink()
    with pytest.raises(VoVNetError, match="half-written"):
        find_runs([tmp_path])


def test_failed_jobs_are_some_lines(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = [Job(tmp_path, (f"a={i}",), f"reason {i}") for i in range(1000)]
    print_rows(read_results(runs / "full/results.csv"), tmp_path, failed)
    said = capsys.readouterr().out
    assert said.count("failed: ") == REASONS + 1
    assert f"failed: {1000 - REASONS} more jobs, see {tmp_path / 'jobs.csv'}" in said


def test_what_does_not_count_is_counted(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs/full"
    shutil.copytree(runs / "full", folder)
    (row,) = read_results(folder / "results.csv")
    print_rows([row], folder)
    assert "unread" not in (whole := capsys.readouterr().out)
    assert "skipped" not in whole
    summary = json.loads((folder / "summary.json").read_text())
    unread = replace(row, unparsed_rate=2 / 72)
    summary |= {"rows_skipped": ["a.jsonl, row 3: it is empty", "a.jsonl, row 9: it is empty"]}
    (folder / "summary.json").write_text(json.dumps(summary))
    print_rows([unread], folder)
    said = capsys.readouterr().out
    assert "2 (2.8%)" in said
    assert "2 rows skipped, the first since a.jsonl, row 3: it is empty" in said
    (tmp_path / "report").mkdir()
    report = write_report([tmp_path / "runs"], str(runs / "outcomes"), LIMITS, tmp_path / "report")
    (run,) = report.found.runs
    found = replace(report.found, runs=(replace(run, row=unread),))
    print_report(replace(report, found=found), tmp_path)
    said = capsys.readouterr().out
    assert "easy_vqa/test: 2 rows skipped (dataset.on_error=skip)" in said
    assert "easy_vqa/test, always_full: 2 of 72 answers could not be read and score 0" in said


def test_a_full_disk_names_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_plain(Path("/dev/full"), {"a": 1})
    assert exit_status_of(caught.value, by_job=False, with_traceback=False) == 1
    assert capsys.readouterr().err.startswith("error: /dev/full: No space left on device; free space and run")


def test_where_hydra_writes_is_known(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(BeforeWriting, "composed", None)
    BeforeWriting().on_run_start(config := OmegaConf.create({"hydra": {"runtime": {}}}))
    assert BeforeWriting.place() is None
    config.hydra.runtime.output_dir = "runs/eval/x"
    error = OSError(errno.ENOSPC, "No space left on device", BeforeWriting.place())
    exit_status_of(error, by_job=False, with_traceback=False)
    assert "error: runs/eval/x: No space left" in capsys.readouterr().err


def test_a_key_of_another_launcher_does_not_suggest_itself() -> None:
    with pytest.raises(VoVNetError, match=r"no configuration key launcher\.setup here, it belongs to launcher=slurm"):
        to_typed(composed("eval", ["launcher=local", "+launcher.setup=[x]"]))
