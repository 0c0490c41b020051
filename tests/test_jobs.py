"""Which records count for a sweep: those of its planned jobs, and a planned job without one has failed."""

from functools import partial
from pathlib import Path

import pytest

from vovnet.errors import VoVNetError
from vovnet.jobs import all_done, begin_sweep, note_folders, read_record, sweep_records, write_record
from vovnet.results.sweep import sweep_jobs
from vovnet.training.sweep import merge_trainings

PLANNED = [["seed=1"], ["seed=2"], ["seed=3"]]


def record(folder: Path, overrides: list[str], token: str, status: str = "done") -> Path:
    folder.mkdir(exist_ok=True)
    write_record(folder, {"overrides": overrides, "sweep": token, "status": status})
    return folder


def plan(sweep: Path, folders: list[Path], launched: bool) -> None:
    begin_sweep(sweep, "now", PLANNED)
    note_folders(sweep, folders, launched)


@pytest.mark.parametrize("launched", [True, False])
def test_a_record_of_another_command_counts_only_where_jobs_run_without_it(tmp_path: Path, launched: bool) -> None:
    jobs = [
        record(tmp_path / name, seed, token)
        for name, seed, token in zip("abc", PLANNED, ("old", "now", "now"), strict=True)
    ]
    record(tmp_path / "d", ["seed=4"], "now")  # of no planned job
    plan(tmp_path, jobs, launched)
    ends = {job.folder.name: job.error for job in sweep_jobs(tmp_path)}
    assert list(ends) == ["a", "b", "c"]
    assert (ends["a"] is None) == launched
    assert ends["b"] is ends["c"] is None
    assert all_done(tmp_path) == launched


def test_a_planned_job_without_a_record_has_failed(tmp_path: Path) -> None:
    record(tmp_path / "a", PLANNED[0], "now")
    (tmp_path / "b").mkdir()
    plan(tmp_path, [tmp_path / "a", tmp_path / "b"], launched=True)
    done, lost, unbegun = sweep_jobs(tmp_path)
    assert done.error is None
    assert (lost.overrides, lost.error) == (
        ("seed=2",),
        "the job left no record of how it ended; run the same command again",
    )
    assert (unbegun.overrides, unbegun.error) == (("seed=3",), "the sweep was interrupted before it")
    assert not all_done(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "{",
        '{"token": "now", "launched": false, "jobs": [{"folder": "a"}]}',
        '{"token": "now", "launched": false, "jobs": 3}',
        '{"token": "now", "launched": false, "jobs": [{"folder": "../a", "overrides": []}]}',
    ],
)
def test_a_damaged_plan_is_said_in_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    for read in (sweep_records, partial(note_folders, folders=[tmp_path / "a"], launched=False)):
        with pytest.raises(VoVNetError, match=r"sweep\.json is damaged \(.*run the same command again\.$"):
            read(tmp_path)


@pytest.mark.parametrize("content", ["{}", "{", "[" * 10**5, '{"overrides": [], "sweep": null}'])
def test_a_damaged_record_is_said_in_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(VoVNetError, match=r"job\.json is damaged \(.*\); remove it and run the same command again\.$"):
        read_record(tmp_path)


def test_jobs_of_one_configuration_are_one_row(tmp_path: Path) -> None:
    job = record(tmp_path / "a", PLANNED[2], "now")
    plan(tmp_path, [job, job, job], launched=False)
    assert [folder for folder, _ in sweep_records(tmp_path)] == [job]


def test_a_training_that_left_nothing_is_no_success(tmp_path: Path) -> None:
    jobs = [record(tmp_path / name, seed, "now") for name, seed in zip("abc", PLANNED, strict=True)]
    plan(tmp_path, jobs, launched=False)
    lines, failed, _ = merge_trainings(tmp_path)
    assert not lines
    assert [job.folder for job in failed] == jobs
    assert f"{jobs[0] / 'summary.json'} is missing" in str(failed[0].error)
