"""What a backbone has seen counts as much as what its policy has."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from tests.conftest import Configure
from tests.training.test_stages import STAGE1, train
from vovnet.backbone.files import ORIGIN_FILE, UNSAID, find_checkpoint, open_checkpoint, write_origin
from vovnet.errors import VoVNetError
from vovnet.results.evaluate import evaluate
from vovnet.training.trainable import training_split

BASELINE = ("policy/baseline=no_vision", "eval.max_samples=8")


@pytest.fixture
def leaky(easy_data: Path, tmp_path: Path) -> Path:
    """Training data that hold an image of the evaluation split."""
    folder = tmp_path / "leaky"
    shutil.copytree(easy_data, folder)
    shutil.copy(folder / "test/images/3.png", folder / "train/images/7.png")
    return folder


@pytest.fixture
def trained(qwen3: Path, tmp_path: Path) -> Path:
    """A folder of weights, as a full training leaves it but for what it was trained on."""
    return Path(shutil.copytree(qwen3, tmp_path / "trained"))


def test_a_baseline_over_a_backbone_that_has_seen_the_questions_is_refused(
    configure: Configure, leaky: Path, trained: Path, tmp_path: Path
) -> None:
    published = find_checkpoint(configure().backbone)
    given = (f"dataset.path={leaky}", f"backbone.path={trained}")
    write_origin(trained, published, [training_split(configure(*given))])
    with pytest.raises(VoVNetError, match="is in the training data"):
        evaluate(configure(*given, *BASELINE), tmp_path / "run")
    evaluate(configure(*given, *BASELINE, "leaks.allow=[image]"), tmp_path / "allowed")
    (verdict,) = json.loads((tmp_path / "allowed/summary.json").read_text())["leak_guard"]
    assert (verdict["passed"], verdict["allowed"]) == (False, ["image"])


def test_a_backbone_that_has_seen_other_questions_passes(configure: Configure, trained: Path, tmp_path: Path) -> None:
    given = (f"backbone.path={trained}",)
    write_origin(trained, find_checkpoint(configure().backbone), [training_split(configure(*given))])
    evaluate(configure(*given, *BASELINE), tmp_path / "run")
    (verdict,) = json.loads((tmp_path / "run/summary.json").read_text())["leak_guard"]
    assert verdict["passed"]


def test_of_a_published_backbone_nobody_knows(configure: Configure, tmp_path: Path) -> None:
    evaluate(configure(*BASELINE), tmp_path / "run")
    assert json.loads((tmp_path / "run/summary.json").read_text())["leak_guard"] == []


def test_an_adapter_that_does_not_say_is_reported(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:

    train(configure(*STAGE1, root="train"), tmp_path / "train")
    adapter = tmp_path / "train/stage1/backbone"
    config = configure(f"backbone.adapter={adapter}", *BASELINE)
    assert [one.dataset for one in find_checkpoint(config.backbone).trained_on] == ["easy_vqa"]
    (adapter / ORIGIN_FILE).unlink()
    assert find_checkpoint(config.backbone).trained_on == (UNSAID,)
    with caplog.at_level(logging.WARNING):
        evaluate(config, tmp_path / "run")
    assert "did not look into the backbone's training data" in caplog.text
    (verdict,) = json.loads((tmp_path / "run/summary.json").read_text())["leak_guard"]
    assert verdict["passed"] is None


def test_weights_remember_what_the_backbone_below_them_has_seen(
    configure: Configure, leaky: Path, trained: Path, qwen3: Path, tmp_path: Path
) -> None:
    first, second = training_split(configure()), training_split(configure(f"dataset.path={leaky}"))
    write_origin(trained, open_checkpoint(qwen3.resolve()), [first])
    below = find_checkpoint(configure(f"backbone.path={trained}").backbone)
    above = Path(shutil.copytree(qwen3, tmp_path / "above"))
    write_origin(above, below, [second])
    assert find_checkpoint(configure(f"backbone.path={above}").backbone).trained_on == (first, second)


def test_the_record_changes_no_fingerprint(configure: Configure, trained: Path, qwen3: Path) -> None:
    write_origin(trained, open_checkpoint(qwen3.resolve()), [training_split(configure())])
    assert open_checkpoint(trained.resolve()).fingerprint == open_checkpoint(qwen3.resolve()).fingerprint
