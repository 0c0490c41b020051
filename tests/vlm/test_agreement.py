"""A fast path is compared with the generic implementation once, and steps aside where it differs."""

import logging
from pathlib import Path

import pytest
import torch

from tests.conftest import compose_config
from vovnet.vlm import agreement, loading
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.qwen.model import Backbone


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(loading, "known_to_agree", agreement.known_to_agree)


def load(folder: Path, *overrides: str) -> str:
    config = compose_config(f"backbone.path={folder}", *overrides)
    return load_backbone(config.backbone, config.vision_budget).implementation


def test_the_fast_path_is_taken_where_it_agrees(qwen3: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load(qwen3) == "qwen"
    assert not caplog.records


@pytest.mark.parametrize("fault", ["an exception", "other logits"])
def test_it_steps_aside_with_a_warning_where_it_does_not(
    qwen3: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    right = Backbone._read

    def wrong(self: Backbone, *arguments: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        if fault == "an exception":
            raise RuntimeError("output with shape [1] does not match")
        return right(self, *arguments, **options).roll(1, dims=-1)

    monkeypatch.setattr(Backbone, "_read", wrong)
    assert load(qwen3) == "generic"
    (warning,) = [record.getMessage() for record in caplog.records if "fast path" in record.getMessage()]
    assert "the generic implementation is used" in warning
    assert load(qwen3, "backbone.implementation=qwen") == "qwen"  # who asks for it gets it


def test_the_comparison_is_made_once(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(qwen3)
    monkeypatch.setattr(agreement, "_compared", lambda *_: pytest.fail("compared again"))
    assert load(qwen3) == "qwen"
    with pytest.raises(pytest.fail.Exception):
        load(qwen3, "backbone.dtype=bfloat16")  # another type is another comparison
