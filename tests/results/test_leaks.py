"""What a backbone has seen counts as much as what its policy has."""

import json
import logging
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from tests.conftest import Configure
from tests.data.test_bad_rows import configured
from tests.training.test_stages import STAGE1, train
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.policy.card import make_card
from vovnet.results.evaluate import evaluate
from vovnet.results.split import look_for_leaks
from vovnet.training.trainable import training_split
from vovnet.vlm.files import ORIGIN_FILE, UNSAID, TrainedOn, find_checkpoint, open_checkpoint, write_origin

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


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder under a folder, with its size and time."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def hub_set(**changes: object) -> dict[str, object]:
    config = asdict(configured("mmmu"))
    return config | {"hub": config["hub"] | {"configs": ["Art"]}} | changes


def nested(levels: int) -> str:
    config = json.dumps(asdict(configured("mini")) | {"parts": {"a": 0}})
    return "".join([config.replace('{"a": 0}', '{"a": ')[:-1]] * levels) + "0" + "}}" * levels


def foreign(folder: Path) -> dict[str, tuple[str, str]]:
    """What a card may say of the training data, and why nothing comes of it."""
    mini = asdict(configured("mini_textvqa"))
    huge = {"seed": 0, "train_images": 10**12, "test_images": 10**12}
    (folder / "there").mkdir()
    os.mkfifo(folder / "pipe")
    other = asdict(configured("jsonl"))
    said: dict[str, tuple[object, str]] = {
        "a set to draw": (mini | {"path": str(folder / "new/set")}, "holds no mini_textvqa"),
        "a huge set to draw": (mini | {"path": str(folder / "there"), "generate": huge}, "holds no mini_textvqa"),
        "a set to download": (hub_set(), "is not in this machine's cache"),
        "a folder as a repository": (
            hub_set(hub={"id": str(folder), "configs": [], "train": "x", "test": None}),
            "cache",
        ),
        "a mixture of them": (
            asdict(configured("mini")) | {"parts": {"a": hub_set(), "b": mini}},
            "is not in this machine's cache",
        ),
        "a pipe": (other | {"path": str(folder / "pipe")}, "neither a file nor a folder"),
        "a device": (other | {"path": "/dev/zero"}, "neither a file nor a folder"),
        "the system's files": (
            asdict(configured("easy_vqa")) | {"path": "/proc/", "files": {"train": ["kmsg"], "test": []}},
            "is no place for a data set",
        ),
        "the whole machine": (other | {"path": "/"}, "is no place for a data set"),
        "nobody's home": (other | {"path": "~nobody-at-all/x"}, "nobody's home folder"),
        "no configuration": ({"name": "jsonl"}, "its account of them is damaged: path: Field required"),
        "another kind": ([1], "its account of them is damaged"),
    }
    texts = {name: (json.dumps(config), why) for name, (config, why) in said.items()}
    texts |= {
        "no JSON": ("{", "its account of them is damaged"),
        "no text": ("", "its account of them is damaged"),
        "nested": (nested(300), "its account of them is damaged"),
        "brackets": ("[" * 100_000, "its account of them is damaged"),
    }
    return texts


def test_nothing_that_a_file_says_of_training_data_is_drawn_downloaded_or_written(
    configure: Configure, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a policy's card, and of ``trained_on.json`` beside weights."""
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("the hub is asked"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("the hub is asked"))
    (tmp_path / "named").mkdir()
    cases = foreign(tmp_path / "named")
    config = configure(f"backbone.path={trained}", *BASELINE)
    dataset = load_dataset(config.dataset, "test")
    before, data = tree(tmp_path / "named"), Path(config.paths.data)
    for name, (text, why) in cases.items():
        seen = TrainedOn("theirs", "ab" * 32, text)
        card = replace(make_card(config, find_checkpoint(config.backbone), 3), dataset=seen.dataset)
        card = replace(card, data_fingerprint=seen.fingerprint, data_config=seen.config)
        write_origin(trained, find_checkpoint(configure().backbone), [seen])
        checkpoint = find_checkpoint(config.backbone)
        assert checkpoint.trained_on == (seen,)
        (verdict,) = look_for_leaks(config, checkpoint, card, dataset)
        assert verdict["passed"] is None, name
        assert why in verdict["why"], (name, verdict["why"])
        assert len(look_for_leaks(config, replace(checkpoint, trained_on=()), card, dataset)) == 1
    assert tree(tmp_path / "named") == before
    assert not data.exists()


def test_a_fingerprint_names_no_other_file(configure: Configure, tmp_path: Path) -> None:
    """It becomes a part of a file's name, and the file would say that nothing was found."""
    config = configure(*BASELINE)
    dataset, data = load_dataset(config.dataset, "test"), Path(config.paths.data)
    (data / "leaks").mkdir(parents=True)
    verdict = {"training": {"name": "x"}, "evaluation": {"name": "y"}, "findings": [], "templates": 0}
    (data / f"x-{dataset.fingerprint[:16]}-3.json").write_text(json.dumps(verdict))
    seen = TrainedOn("theirs", "../x", json.dumps(asdict(config.dataset)))
    checkpoint = replace(find_checkpoint(config.backbone), trained_on=(seen,))
    (found,) = look_for_leaks(config, checkpoint, None, dataset)
    assert found == {
        "training": {"name": "theirs"},
        "passed": None,
        "why": "its account of them is damaged: their fingerprint is no SHA-256",
    }


@pytest.mark.parametrize("data", [[{"dataset": 1, "fingerprint": "a", "config": "null"}], [{}], 5, [[]]])
def test_a_damaged_record_is_one_sentence(trained: Path, data: object) -> None:
    (trained / ORIGIN_FILE).write_text(json.dumps({"backbone": "x", "data": data}))
    with pytest.raises(VoVNetError, match=r"trained_on.json does not say which backbone it is of"):
        open_checkpoint(trained)
