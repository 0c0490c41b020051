"""Batches are bounded by what fits into memory; one question that does not is named before any is answered."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import ROOT
from tests.conftest import compose_config
from tests.outcomes.test_collect import load
from vovnet.errors import VoVNetError
from vovnet.outcomes import limits
from vovnet.outcomes.limits import BatchLimit
from vovnet.vlm import device

LONG = 30_000  # characters


def limit_of(lengths: list[int], free: int = 10**9, most: Any = "auto") -> BatchLimit:
    """For prompts of known lengths: 1000 bytes a token, and 5 a pair of tokens in a padded batch."""
    made = BatchLimit(SimpleNamespace(device=torch.device("cpu")), None, (), most, free, 1000, 5)  # type: ignore[arg-type]
    made._exact.update(enumerate(lengths))
    return made


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=40), st.integers(10**6, 10**10))
def test_parts_are_all_rows_in_order_and_each_fits(lengths: list[int], free: int) -> None:
    limit = limit_of(lengths, free)
    parts = list(limit.parts(range(len(lengths))))
    assert [row for part in parts for row in part] == list(range(len(lengths)))
    for part in parts:
        longest, count = max(lengths[row] for row in part), len(part)
        assert count == 1 or count * (1000 * longest + 5 * longest**2) <= limits.SHARE["cpu"] * free


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(400, 4000))
def test_the_key_bounds_padded_tokens(lengths: list[int], most: int) -> None:
    for part in limit_of(lengths, most=most).parts(range(len(lengths))):
        assert len(part) * max(lengths[row] for row in part) <= most


def test_usual_batches_are_not_cut_and_a_long_question_goes_alone() -> None:
    usual = [80 + 3 * row for row in range(64)]
    assert list(limit_of(usual).parts(range(64))) == [list(range(64))]
    assert list(limit_of([*usual, 9000], 10**12).parts(range(65))) == [list(range(64)), [64]]


def test_what_a_batch_took_corrects_the_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = limit_of([1000] * 64)
    assert limit.holds(range(64))
    monkeypatch.setattr(limits, "peak_mb", lambda device: 3000 + 64 * 6 * 2)  # six million bytes predicted for each
    limit.learn(range(64), 3000)
    assert limit.scale == pytest.approx(2 * 2**20 / 1e6)
    assert not limit.holds(range(64))
    assert limit.holds(range(32))


def test_memory_of_a_control_group_bounds_that_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup").write_text("0::/job/step\n")
    for group, most in (("", ""), ("job", "5000000"), ("job/step", "max")):
        (folder := tmp_path / group).mkdir(exist_ok=True)
        for name, text in (("max", most), ("current", "2000000"), ("stat", "anon 7\ninactive_file 1000000\n")):
            (folder / f"memory.{name}").write_text(text)
    monkeypatch.setattr(device, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(device, "GROUPS", tmp_path)
    assert device.free_bytes(torch.device("cpu")) == 4_000_000
    monkeypatch.setenv(device.JOBS_AT_ONCE, "4")
    assert device.free_bytes(torch.device("cpu")) == 1_000_000


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 questions about two pictures; one has 30,000 characters."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("questions")
    for colour in ("red", "blue"):
        Image.new("RGB", (90, 60), colour).save(folder / f"{colour}.png")
    long = ("what colour is the circle in the picture of a small house and " * 500)[:LONG]
    rows = [
        {"id": str(i), "image": ("red.png", "blue.png")[i % 2], "answers": ["red"]}
        | {"question": long if i == 7 else f"what colour is shape {i}?"}
        for i in range(21)
    ]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("eval.batch_tokens=2000", "more than eval.batch_tokens=2000; raise it, or leave the row out of the data."),
        ("eval.batch_tokens=auto", "are free; free memory, leave the row out of the data, or set eval.batch_tokens="),
    ],
)
def test_a_question_that_does_not_fit_is_named_before_any_is_answered(
    questions: Path, tmp_path: Path, override: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "free_bytes", lambda device: 40_000_000)
    config = compose_config("dataset=jsonl", f"dataset.path={questions}", f"paths.runs={tmp_path}", override)
    with pytest.raises(
        VoVNetError, match=r"^sample 7 alone is a prompt of [\d,]+ tokens \(30,\d+ characters\), "
    ) as said:
        load(config, 21)
    assert sentence in str(said.value)
    assert not list(tmp_path.rglob("*.parquet"))


COMPARE = """
import sys
import torch
from tests.conftest import compose_config
from vovnet.actions import Action
from tests.outcomes.test_collect import load
from vovnet.vlm.device import peak_mb
questions, runs = sys.argv[1:]
def outcomes(size):
    given = ("dataset=jsonl", f"dataset.path={questions}", f"paths.runs={runs}/{size}", f"eval.batch_size={size}")
    config = compose_config(*given, "eval.max_new_tokens=4")
    return load(config, 21, (Action.NO, Action.COARSE)).outcomes
together = outcomes(21)
print(peak_mb(torch.device("cpu")))
alone = outcomes(1)
for look, branch in alone.branches.items():
    assert list(branch.answer) == list(together.branches[look].answer)
    assert list(branch.prompt_tokens) == list(together.branches[look].prompt_tokens)
"""


def test_one_long_question_among_21_takes_little_memory_and_changes_no_answer(questions: Path, tmp_path: Path) -> None:
    call = [sys.executable, "-c", COMPARE, str(questions), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1000  # MB, of which libraries take half; padded, it takes 4 GB
