"""A sweep's folder: its jobs' folders lie directly in it, and one command at a time writes into it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import command, last_line
from tests.experiments.test_commands import base  # noqa: F401
from tests.sweeps import batch_of
from vovnet.errors import VoVNetError
from vovnet.jobs import begin_sweep
from vovnet.locks import Claim
from vovnet.sweep_folder import LOCK_FILE, SweepFolder, refuse_nested, sweep_place


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[SweepFolder]:
    """That of a sweep which this process has begun."""
    begun = SweepFolder(tmp_path)
    begun.enter([["a=1"]])
    yield begun
    begun.leave()


def is_free(folder: SweepFolder) -> bool:
    other = Claim(folder.path / LOCK_FILE)
    taken = other.take(wait=False)
    other.release()
    return taken


def test_others_are_kept_out_but_while_jobs_go_on_without_this_command(folder: SweepFolder) -> None:
    assert not is_free(folder)
    folder.come_back()  # it has not left
    assert not is_free(folder)
    folder.leave()
    assert is_free(folder)
    folder.come_back()
    assert not is_free(folder)


def test_a_sweep_that_was_begun_again_is_left_to_the_other_command(folder: SweepFolder) -> None:
    folder.leave()
    begin_sweep(folder.path, "another", [])
    with Claim(folder.path / LOCK_FILE), pytest.raises(VoVNetError, match="the same sweep was begun again meanwhile"):
        folder.come_back()


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("paths.runs=/r", "eval-642df60e"),
        ("paths.runs=/r policy.lambda_cost=0,0.1", "eval-263b4e0e"),
        ("paths.runs=/r policy.lambda_cost=0,0.1 launcher=local launcher.jobs=3 hydra.mode=MULTIRUN", "eval-263b4e0e"),
        ("paths.runs=/r policy.lambda_cost=0,0.1 name=mine", "mine"),
        ("paths.runs=/r +experiment=b1_fixed", "b1_fixed-642df60e"),
        ("paths.runs=/r hydra.sweep.dir=/elsewhere", "elsewhere"),
    ],
)
def test_a_folder_is_named_after_the_run_and_what_the_command_line_adds(overrides: str, name: str) -> None:
    """The names that earlier versions gave: a repeated sweep finds its results."""
    assert sweep_place(batch_of("eval", overrides.split()).config).name == name


@pytest.mark.parametrize(
    "subdir", ["${hydra.job.override_dirname}", "${policy.baseline.match}", "a/${hydra.job.num}", ".."]
)
def test_a_jobs_folder_lies_directly_in_the_sweeps(subdir: str) -> None:
    named = [f"hydra.sweep.subdir='{subdir}'", "policy/baseline=random_policy_matched", "policy.baseline.match=a/b"]
    batch = batch_of("eval", named)
    with pytest.raises(VoVNetError, match=r"hydra\.sweep\.subdir=\S+ is no folder directly in the sweep's own"):
        refuse_nested(batch)


@pytest.mark.parametrize("subdir", ["${job_id:}", "${hydra.job.num}", "lambda-${policy.lambda_cost}", "${nothing}"])
def test_other_names_are_not_refused(subdir: str) -> None:
    """One that cannot be resolved is explained by its job."""
    refuse_nested(batch_of("eval", [f"hydra.sweep.subdir='{subdir}'", "policy.lambda_cost=0,0.1"]))


@pytest.mark.parametrize("how", [["-m", "eval.max_samples=2,4"], ["launcher=local", "eval.max_samples=2"]])
def test_a_nested_folder_is_refused_before_the_first_job(base: list[str], tmp_path: Path, how: list[str]) -> None:  # noqa: F811
    process = command(
        "eval", *base, "policy/baseline=no_vision", "hydra.sweep.subdir=${hydra.job.override_dirname}", *how
    )
    assert process.returncode == 1
    assert "is no folder directly in the sweep's own" in last_line(process)
    assert not list(tmp_path.glob("runs/**/job.json"))
