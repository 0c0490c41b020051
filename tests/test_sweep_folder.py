"""A sweep's folder: its jobs' folders lie directly in it, and one command at a time writes into it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.commands import command, last_line
from tests.composer import composed
from tests.experiments.test_commands import base  # noqa: F401
from vovnet.errors import VoVNetError
from vovnet.jobs import begin_sweep
from vovnet.locks import Claim
from vovnet.sweep_folder import (
    LOCK_FILE,
    SweepCallback,
    enter_folder,
    forget_sweep,
    leave_folder,
    refuse_nested,
    return_to_folder,
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """That of a sweep which this process has begun."""
    SweepCallback.folder = tmp_path
    enter_folder([["a=1"]])
    yield tmp_path
    forget_sweep()


def is_free(folder: Path) -> bool:
    other = Claim(folder / LOCK_FILE)
    taken = other.take(wait=False)
    other.release()
    return taken


def test_others_are_kept_out_but_while_jobs_go_on_without_this_command(folder: Path) -> None:
    assert not is_free(folder)
    return_to_folder()  # it has not left
    assert not is_free(folder)
    leave_folder()
    assert is_free(folder)
    return_to_folder()
    assert not is_free(folder)


def test_a_sweep_that_was_begun_again_is_left_to_the_other_command(folder: Path) -> None:
    leave_folder()
    begin_sweep(folder, "another", [])
    with Claim(folder / LOCK_FILE), pytest.raises(VoVNetError, match="the same sweep was begun again meanwhile"):
        return_to_folder()


@pytest.mark.parametrize(
    "subdir", ["${hydra.job.override_dirname}", "${policy.baseline.match}", "a/${hydra.job.num}", ".."]
)
def test_a_jobs_folder_lies_directly_in_the_sweeps(subdir: str) -> None:
    named = [f"hydra.sweep.subdir='{subdir}'", "policy/baseline=random_policy_matched", "policy.baseline.match=a/b"]
    with pytest.raises(VoVNetError, match=r"hydra\.sweep\.subdir=\S+ is no folder directly in the sweep's own"):
        refuse_nested([named], partial(composed, "eval"))


@pytest.mark.parametrize("subdir", ["${job_id:}", "${hydra.job.num}", "lambda-${policy.lambda_cost}", "${nothing}"])
def test_other_names_are_not_refused(subdir: str) -> None:
    """One that cannot be resolved is explained by its job."""
    refuse_nested([[f"hydra.sweep.subdir='{subdir}'"]] * 2, partial(composed, "eval"))


@pytest.mark.parametrize("how", [["-m", "eval.max_samples=2,4"], ["launcher=local", "eval.max_samples=2"]])
def test_a_nested_folder_is_refused_before_the_first_job(base: list[str], tmp_path: Path, how: list[str]) -> None:  # noqa: F811
    process = command(
        "eval", *base, "policy/baseline=no_vision", "hydra.sweep.subdir=${hydra.job.override_dirname}", *how
    )
    assert process.returncode == 1
    assert "is no folder directly in the sweep's own" in last_line(process)
    assert not list(tmp_path.glob("runs/**/job.json"))
