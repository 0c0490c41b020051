"""Callbacks of Hydra's under ``hydra.callbacks``: called as Hydra calls them, and after every end of a sweep."""

from pathlib import Path
from typing import Any

import pytest
from hydra.experimental.callback import Callback

from tests.commands import Done, command

RUN = ["on_run_start", "on_job_start", "on_job_end", "on_run_end"]
MISSING = "dataset.path=/nowhere"


class Noting(Callback):
    """A user's callback: writes down what it is told; may fail itself."""

    def __init__(self, place: str, raises: str = "") -> None:
        self.place, self.raises = Path(place), raises

    def _note(self, name: str, status: str = "") -> None:
        with self.place.open("a") as file:
            file.write(f"{name} {status}".strip() + "\n")
        if name == self.raises:
            raise RuntimeError("the callback's own")

    def on_run_start(self, config: Any, **given: Any) -> None:
        self._note("on_run_start")

    def on_run_end(self, config: Any, **given: Any) -> None:
        self._note("on_run_end")

    def on_multirun_start(self, config: Any, **given: Any) -> None:
        self._note("on_multirun_start")

    def on_multirun_end(self, config: Any, **given: Any) -> None:
        self._note("on_multirun_end")

    def on_job_start(self, config: Any, **given: Any) -> None:
        self._note("on_job_start")

    def on_job_end(self, config: Any, job_return: Any, **given: Any) -> None:
        self._note("on_job_end", job_return.status.name)


@pytest.fixture
def evaluated(easy_data: Path, tmp_path: Path) -> Any:
    """An evaluation with the callback: the process, and what the callback was told."""

    def run(*arguments: str, raises: str = "") -> tuple[Done, list[str]]:
        noted = tmp_path / "noted"
        callback = [
            f"+hydra.callbacks.noting.{key}={value}"
            for key, value in {"_target_": f"{__name__}.Noting", "place": noted, "raises": raises}.items()
        ]
        given = ["policy/baseline=no_vision", "eval.max_samples=2", f"paths.runs={tmp_path}"]
        done = command("eval", *given, f"dataset.path={easy_data}", *callback, *arguments, cwd=tmp_path)
        return done, noted.read_text().splitlines()

    return run


def test_the_end_of_a_run_is_told_whether_it_failed_or_not(evaluated: Any) -> None:
    done, told = evaluated()
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in told] == RUN
    failed, again = evaluated(MISSING)
    assert failed.returncode == 1
    assert [line.split()[0] for line in again[len(told) :]] == RUN


def test_the_end_of_a_sweep_is_told_after_failed_jobs_too(evaluated: Any) -> None:
    """Hydra's own sweeper calls ``on_multirun_end`` only where every job was done."""
    done, told = evaluated("-m", "eval.max_samples=2,-2")
    assert done.returncode == 1
    assert sorted(told) == [
        "on_job_end COMPLETED", "on_job_end FAILED", "on_job_start", "on_job_start", "on_multirun_end",
        "on_multirun_start",
    ]  # fmt: skip
    assert told[-1] == "on_multirun_end"


def test_a_callback_that_fails_is_a_warning_and_changes_no_exit_status(evaluated: Any) -> None:
    done, _ = evaluated(raises="on_run_end")
    assert done.returncode == 0
    assert "Callback Noting.on_run_end raised RuntimeError: the callback's own" in done.stderr
    assert evaluated(MISSING, raises="on_run_end")[0].returncode == 1
