"""Reading easy-VQA: the package's copy, a folder, and broken files."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import IMAGES, compose_config
from vovnet.data import ImageRef, load_dataset, prompt_text
from vovnet.errors import VoVNetError


def test_the_packages_copy() -> None:
    train, test = (load_dataset(compose_config().dataset, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (38_575, 9_673)
    assert train.fingerprint != test.fingerprint


def test_each_question_has_its_own_image() -> None:
    """Upstream's path table is in directory order; a reader that counts along it shows wrong images."""
    import easy_vqa

    questions, answers, images = easy_vqa.get_test_questions()
    paths = easy_vqa.get_test_image_paths()
    dataset = load_dataset(compose_config().dataset, "test")
    for i in range(0, len(dataset), 97):
        assert (dataset[i].question, dataset[i].answers) == (questions[i], (answers[i],))
        assert dataset[i].images[0].path == Path(paths[images[i]])


def test_categories_follow_what_must_be_seen() -> None:
    dataset = load_dataset(compose_config().dataset, "test")
    categories = {dataset[i].category for i in range(len(dataset))}
    assert categories == {"shape", "color", "shape_yesno", "color_yesno"}


def test_the_prompt_shows_the_question_and_never_the_answer(easy_data: Path) -> None:
    config = compose_config(f"dataset.path={easy_data}", "dataset.prompt_template='Q: {question} A:'").dataset
    dataset = load_dataset(config, "test")
    sample = dataset[0]
    assert prompt_text(dataset, sample) == f"Q: {sample.question} A:"


def test_braces_in_a_question_stay(easy_data: Path, tmp_path: Path) -> None:
    folder = copy(easy_data, tmp_path)
    rows = json.loads((folder / "test/questions.json").read_text())
    rows[0][0] = "what is {answer} {question}?"
    (folder / "test/questions.json").write_text(json.dumps(rows))
    dataset = load_dataset(compose_config(f"dataset.path={folder}").dataset, "test")
    assert prompt_text(dataset, dataset[0]) == "what is {answer} {question}?"


def copy(easy_data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(easy_data, folder)
    return folder


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (["", "red", 0], r"row 1: expected \[question, answer, image id\]"),
        (["what?", "red"], "row 1"),
        (["what?", 3, 0], "row 1"),
        ("text", "row 1"),
        (["what?", "red", "0"], "row 1"),
    ],
)
def test_a_malformed_row_is_named(easy_data: Path, tmp_path: Path, row: object, what: str) -> None:
    folder = copy(easy_data, tmp_path)
    (folder / "test/questions.json").write_text(json.dumps([row]))
    with pytest.raises(VoVNetError, match=what):
        load_dataset(compose_config(f"dataset.path={folder}").dataset, "test")


def test_broken_files_are_named(easy_data: Path, tmp_path: Path) -> None:
    folder = copy(easy_data, tmp_path)
    config = compose_config(f"dataset.path={folder}").dataset
    (folder / "test/images/3.png").unlink()
    with pytest.raises(VoVNetError, match=r"3.png cannot be read"):
        load_dataset(config, "test")
    (folder / "test/questions.json").write_text('[["cut')
    with pytest.raises(VoVNetError, match="is not a JSON list of questions"):
        load_dataset(config, "test")
    (folder / "test/questions.json").write_text("[]")
    with pytest.raises(VoVNetError, match="holds no question that can be used"):
        load_dataset(config, "test")
    (folder / "test/questions.json").unlink()
    with pytest.raises(VoVNetError, match="does not exist"):
        load_dataset(config, "test")
    with pytest.raises(VoVNetError, match=r"dataset.path=/nowhere is not a folder"):
        load_dataset(compose_config("dataset.path=/nowhere").dataset, "test")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"GIF89a nothing"])
def test_a_damaged_image_is_named(easy_data: Path, tmp_path: Path, damage) -> None:
    source = (easy_data / "test/images/0.png").read_bytes()
    path = tmp_path / "0.png"
    path.write_bytes(damage(source))
    with pytest.raises(VoVNetError, match=r"0.png cannot be (read|decoded).*replace it"):
        ImageRef("0.png", path).load()


def test_the_slice_for_tests_is_a_slice(easy_data: Path) -> None:
    dataset = load_dataset(compose_config(f"dataset.path={easy_data}").dataset, "train")
    assert len({dataset[i].group for i in range(len(dataset))}) == IMAGES
