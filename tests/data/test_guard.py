"""The leak guard: what was slipped into the training data is found, and nothing else."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import compose_config
from vovnet.data import VQADataset, load_dataset
from vovnet.data.guard import LeakReport, compare, is_copy
from vovnet.data.leaks import enforce, leak_report
from vovnet.data.signatures import normal_form
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig, LeaksConfig

TASKS = ["count the cups", "name the bird", "read the label", "find the key", "tell the time", "weigh the stone"]


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture of its own: blocks of random colours, blown up."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def write(folder: Path, split: str, rows: list[tuple[dict, bytes]]) -> DatasetConfig:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (row, image) in enumerate(rows):
        (folder / f"{split}{number}.img").write_bytes(image)
        lines.append(json.dumps({"id": f"{split}-{number}", "image": f"{split}{number}.img", **row}))
    (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return compose_config("dataset=jsonl", f"dataset.path={folder}").dataset


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def question(number: int) -> dict:
    """One of a kind, with options."""
    task = TASKS[number % len(TASKS)]
    return {"question": f"Please {task} number {number}?", "options": ["one", "two", "three"], "answer": "B"}


EVALUATION = [(question(n), png(scene(n))) for n in range(12)]
TRAINING = [(question(n), png(scene(n))) for n in range(100, 130)]


@pytest.fixture
def pair(tmp_path: Path):
    def make(slipped: list[tuple[dict, bytes]]) -> tuple[VQADataset, VQADataset, LeakReport]:
        train = load_dataset(write(tmp_path / "train", "train", [*TRAINING, *slipped]), "train")
        test = load_dataset(write(tmp_path / "eval", "test", EVALUATION), "test")
        return train, test, compare(train, test, tmp_path / "signatures")

    return make


def test_clean_sets_pass(pair) -> None:
    assert pair([])[2].findings == ()


def test_what_is_kept_of_images_is_kept_by_what_pillow_makes_of_them(
    pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> set[str]:
        return {path.name for path in (tmp_path / "signatures").iterdir()}

    train, test, _ = pair([])
    before = kept()
    assert len(before) == 2
    monkeypatch.setattr("vovnet.data.signatures.decoding_digest", lambda resample: "another version")
    compare(train, test, tmp_path / "signatures")
    assert len(kept() - before) == 2


def test_five_slipped_samples_are_found_and_nothing_else(pair) -> None:
    shuffled = question(3) | {"options": ["three", "one", "two"], "answer": "C"}
    slipped = [
        (question(200), jpeg(scene(0))),  # re-encoded, another question
        (question(201), png(scene(1).crop((2, 0, 96, 72)))),  # cropped by two pixels
        (shuffled, png(scene(202))),  # options permuted, another image
        (question(4) | {"options": [], "answer": "two"}, png(scene(203))),  # only the question
        EVALUATION[5],  # exact
    ]
    report = pair(slipped)[2]
    found = {(f.kind, f.evaluation, f.training) for f in report.findings}
    assert found == {
        ("image", "test-0", "train-30"),
        ("image", "test-1", "train-31"),
        ("question", "test-3", "train-32"),
        ("question", "test-4", "train-33"),
        ("image", "test-5", "train-34"),
        ("question", "test-5", "train-34"),
    }


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("box", [(0, 0, 96, 72), (2, 2, 94, 70), (0, 2, 96, 72), (4, 0, 96, 72), (0, 0, 93, 70)])
def test_copies_are_recognised(quality: int, box: tuple[int, int, int, int]) -> None:
    buffer = io.BytesIO()
    scene(7).crop(box).save(buffer, "JPEG", quality=quality)
    assert is_copy(scene(7), Image.open(buffer).convert("RGB"))
    assert not is_copy(scene(8), Image.open(buffer).convert("RGB"))


def test_a_template_is_no_leak(tmp_path: Path) -> None:
    asked = {"question": "What color is the shape?", "answers": ["red"]}
    train = write(tmp_path / "a", "train", [(asked, png(scene(n))) for n in range(50, 55)])
    test = write(tmp_path / "b", "test", [(asked, png(scene(n))) for n in range(60, 63)])
    report = compare(load_dataset(train, "train"), load_dataset(test, "test"), tmp_path)
    assert (report.findings, report.templates) == ((), 3)


def test_short_open_questions_need_a_common_answer(tmp_path: Path) -> None:
    test = write(tmp_path / "b", "test", [({"question": "What brand?", "answers": ["Nokia"]}, png(scene(1)))])
    for answer, leaks in (("apple", 0), ("nokia", 1)):
        row = {"question": "what brand", "answers": [answer]}
        train = write(tmp_path / answer, "train", [(row, png(scene(2)))])
        report = compare(load_dataset(train, "train"), load_dataset(test, "test"), tmp_path)
        assert len(report.findings) == leaks


def test_a_closed_set_of_answers_tells_nothing(tmp_path: Path) -> None:
    rows = [({"question": f"Is {n} there?", "answers": [("yes", "no")[n % 2]]}, png(scene(n))) for n in range(20)]
    more = [(row, png(scene(100 + n))) for n, (row, _) in enumerate(rows)]
    train, test = write(tmp_path / "a", "train", more), write(tmp_path / "b", "test", rows)
    assert compare(load_dataset(train, "train"), load_dataset(test, "test"), tmp_path).findings == ()


def test_an_evaluation_file_is_no_training_file(tmp_path: Path) -> None:
    config = write(tmp_path, "test", EVALUATION)
    dev = tmp_path / "MMBench_DEV_EN.jsonl"
    (tmp_path / "test.jsonl").rename(dev)
    files = replace(config.files, train=("*DEV*.jsonl",), test=("*DEV*.jsonl",))
    config = replace(config, files=files)
    report = compare(load_dataset(config, "train"), load_dataset(config, "test"), tmp_path)
    assert {f.kind for f in report.findings} == {"split", "image", "question"}
    renamed = replace(config, files=replace(files, test=("other*.jsonl",)))
    (tmp_path / "other.jsonl").write_text(json.dumps({"image": "test0.img", **question(900), "id": "x"}))
    report = compare(load_dataset(renamed, "train"), load_dataset(renamed, "test"), tmp_path)
    assert any(f.kind == "split" and "by the file's name" in f.detail for f in report.findings)


def test_refusal_names_what_and_where_and_overriding_is_recorded(pair, tmp_path: Path) -> None:
    train, test, report = pair([EVALUATION[5]])
    with pytest.raises(VoVNetError) as caught:
        enforce([report], LeaksConfig(allow=()))
    assert "evaluation test-5 = training train-30" in str(caught.value)
    assert "leaks.allow=[image,question]" in str(caught.value)
    with pytest.raises(VoVNetError, match="1 by question"):
        enforce([report], LeaksConfig(allow=("image",)))
    (recorded,) = enforce([report], LeaksConfig(allow=("image", "question")))
    assert (recorded["passed"], recorded["allowed"]) == (False, ["image", "question"])
    stored = leak_report(train, test, tmp_path / "data")
    assert leak_report(train, test, tmp_path / "data") == stored
    assert {(f.kind, f.training) for f in stored.findings} == {(f.kind, f.training) for f in report.findings}


def test_normal_form_of_questions() -> None:
    assert normal_form("  What  is\nTHIS, <image 1>?") == "what is this"
