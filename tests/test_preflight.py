"""What a command lacks is told before it runs: all at once, and once for all of its jobs."""

import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.commands import command
from vovnet import needs
from vovnet.errors import VoVNetError
from vovnet.outcomes import load
from vovnet.preflight import Finding, preflight


@pytest.fixture
def base(easy_data: Path, tmp_path: Path) -> list[str]:
    return [f"dataset.path={easy_data}", f"paths.runs={tmp_path / 'runs'}"]


def of(found: list[Finding], need: str) -> list[Finding]:
    return [finding for finding in found if finding.need == need]


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: None)
    lacking = ["backbone=qwen3_vl_8b", "dataset=train_mix", "logger=wandb", "backbone.device=cuda:99"]
    found = preflight("train", [*lacking, f"paths.runs={tmp_path / 'runs'}"])
    assert all(finding.problem for finding in found)
    assert [finding.need for finding in found] == ["packages", "weights", "data", "data", "data", "devices"]
    for part, finding in zip(("mmbench", "llava", "textvqa"), of(found, "data"), strict=True):
        assert finding.said.endswith(f"set dataset.parts.{part}.path, or give ~dataset.parts.{part}.")
    assert not (tmp_path / "runs").exists()


def test_equal_problems_of_many_jobs_are_one(base: list[str]) -> None:
    swept = ["-m", "policy.lambda_cost=0,0.1,0.2", "policy/objective=value,mixture", *base]
    found = preflight("eval", swept)
    assert [finding.problem for finding in of(found, "policy")] == [True]


def test_what_a_command_downloads_or_generates_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    data = [f"paths.data={tmp_path}", f"paths.runs={tmp_path / 'runs'}"]
    found = preflight("eval", ["backbone=qwen3_vl_2b", "dataset=mini", "policy/baseline=always_full", *data])
    assert not [finding for finding in found if finding.problem]
    assert len(of(found, "data")) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_branches_are_those_that_a_run_computes(base: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sized = [*base, "eval.max_samples=7", "policy/baseline=cascade", "policy.baseline.threshold=0.5"]
    monkeypatch.setattr(load, "shared_backbone", lambda *_: pytest.fail("a model is loaded"))
    (before,) = of(preflight("eval", sized), "branches")
    assert before.said == "easy_vqa/test: 7 questions, to run: 7 coarse, 7 full."
    assert command("eval", *sized).returncode == 0
    (after,) = of(preflight("eval", sized), "branches")
    assert after.said == "easy_vqa/test: 7 questions, all stored; no model runs."
    (more,) = of(preflight("eval", [*sized, "eval.max_samples=9"]), "branches")
    assert more.said == "easy_vqa/test: 9 questions, to run: 2 coarse, 2 full."


def test_a_first_batch_gives_the_time_and_leaves_nothing(base: list[str], tmp_path: Path) -> None:
    sized = [*base, "eval.max_samples=9", "eval.batch_size=3", "policy/baseline=no_vision,always_coarse", "-m"]
    found = of(preflight("eval", sized, timed=True), "time")
    assert len(found) == 2  # each look by itself
    for finding in found:
        assert re.fullmatch(
            r"easy_vqa/test: about \d+s for the missing branches of 9 questions \(a batch of 3 took [\d.e-]+ s\)\.",
            finding.said,
        )
    assert not (tmp_path / "runs").exists()
    assert not of(preflight("eval", [*sized, "eval.max_samples=5"], timed=True), "time")  # of less than two batches
    assert not of(preflight("eval", sized), "time")


def test_a_pipeline_needs_what_its_stages_need_but_their_policies(base: list[str]) -> None:
    found = preflight("pipeline", ["+experiment=c1_generalization", "backbone.device=cuda:99", base[1]])
    assert len(of(found, "devices")) == 1
    assert not of(found, "policy")


def test_a_full_disk_ends_a_command_before_it_works(base: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 99, 1))
    from vovnet.api.commands import run

    with pytest.raises(VoVNetError, match=r"^0 MB are free at paths\.runs="):
        run("eval", [*base, "policy/baseline=always_full", "eval.max_samples=2"])


def test_the_command_ends_with_what_is_missing(base: list[str]) -> None:
    done = command("preflight", "eval", *base)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 problem"
    assert done.stdout.splitlines()[-2].startswith("missing policy: ")
    assert command("preflight", "nonsense").returncode == 1
