"""The mini sets: the same seed gives the same files, in the formats of the sets they imitate."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from experiments.tiny_backbone.vision import COLOR_NAMES, NAMES, token_labels
from tests.conftest import compose_config
from vovnet.data import VQADataset, load_dataset
from vovnet.data.guard import compare
from vovnet.data.mini import scenes
from vovnet.data.mini.compose import FAMILIES, SUBJECTS, odd_one_in, pair, with_options
from vovnet.data.mini.generate import SETS
from vovnet.errors import VoVNetError
from vovnet.fingerprint import fingerprint_files

MAKERS = (
    scenes.objects, scenes.sign, scenes.digit, scenes.lone_object, scenes.balls, scenes.dots, scenes.chart,
)  # fmt: skip


def small(name: str, folder: Path, *overrides: str) -> VQADataset:
    sizes = ["dataset.generate.train_images=60", "dataset.generate.test_images=40", f"paths.runs={folder}"]
    return load_dataset(compose_config(f"dataset={name}", *sizes, *overrides).dataset, "test")


@pytest.mark.parametrize("name", SETS)
def test_a_seed_means_its_files(name: str, tmp_path: Path) -> None:
    prints = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        small(name, tmp_path / folder, f"dataset.generate.seed={seed}")
        files = [path for path in (tmp_path / folder).rglob("*") if path.is_file() and path.suffix in (".tsv", ".json")]
        parquet = list((tmp_path / folder).rglob("*.parquet"))
        prints.append(fingerprint_files([p for p in (*files, *parquet) if p.name != "generated.json"]))
    assert prints[0] == prints[1] != prints[2]


def test_another_seed_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    small("mini_textvqa", tmp_path)
    with pytest.raises(VoVNetError, match=r"holds .*'seed': 0.* but .*'seed': 5.* set another dataset.path"):
        small("mini_textvqa", tmp_path, "dataset.generate.seed=5")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/precious.txt").touch()
    with pytest.raises(VoVNetError, match="holds something else, which would be removed; name a new folder"):
        small("mini_textvqa", tmp_path, f"dataset.path={tmp_path / 'set'}")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["precious.txt"]


def test_mmbench_layout(tmp_path: Path) -> None:
    dataset = small("mini_mmbench", tmp_path)
    with next(tmp_path.rglob("*dev*.tsv")).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0])[:8] == ["index", "question", "hint", "A", "B", "C", "D", "answer"]
    base = [row for row in rows if int(row["index"]) < 10**6]
    assert Image.open(io.BytesIO(base64.b64decode(base[0]["image"]))).width >= 48
    assert any(len(row["image"]) < 64 for row in base)  # a second question points to the first one's row
    for row in rows:
        assert row[row["answer"]] != "nan"
        source = next(r for r in base if int(r["index"]) == int(row["index"]) % 10**6)
        assert row[row["answer"]] == source[source["answer"]]  # a rotation keeps the answer, not its letter
    samples = [dataset[i] for i in range(len(dataset))]
    assert sum(sample.is_copy for sample in samples) == len(rows) - len(base)
    assert all(sample.rotations == len(sample.options) for sample in samples)
    assert len({s.circle for s in samples}) == len(base) > len({s.group for s in samples})
    groups: dict[object, set[str]] = {}
    for sample in samples:
        groups.setdefault(sample.images[0], set()).add(sample.group)
    assert all(len(of_image) == 1 for of_image in groups.values())  # and of all images, each its own
    assert len(set.union(*groups.values())) == len(groups)


def test_mmmu_layout(tmp_path: Path) -> None:
    dataset = small("mini_mmmu", tmp_path)
    found = sorted(path.parent.name for path in tmp_path.rglob("validation-*.parquet"))
    assert found == sorted(SUBJECTS)
    table = pq.read_table(next(tmp_path.rglob("Math/validation-*.parquet")))
    assert {"id", "options", "image_1", "image_7", "question_type", "subfield"} <= set(table.column_names)
    kinds = {bool(dataset[i].options) for i in range(len(dataset))}
    assert kinds == {True, False}
    assert max(len(dataset[i].images) for i in range(len(dataset))) == 2


def test_textvqa_layout(tmp_path: Path) -> None:
    dataset = small("mini_textvqa", tmp_path)
    content = json.loads(next(tmp_path.rglob("TextVQA_0.5.1_val.json")).read_text())
    assert all(len(row["answers"]) == 10 for row in content["data"])
    most = {row["question_id"]: max(row["answers"], key=row["answers"].count) for row in content["data"]}
    assert all(dataset[i].answers[0] == most[int(dataset[i].id)] for i in range(len(dataset)))


@pytest.mark.parametrize("name", SETS)
def test_training_and_test_images_are_disjoint(name: str, tmp_path: Path) -> None:
    test = small(name, tmp_path)
    config = compose_config(
        f"dataset={name}",
        "dataset.generate.train_images=60",
        "dataset.generate.test_images=40",
        f"paths.runs={tmp_path}",
    )
    report = compare(load_dataset(config.dataset, "train"), test, tmp_path)
    assert [finding for finding in report.findings if finding.kind == "image"] == []


@pytest.mark.parametrize("make", MAKERS)
def test_scenes_ask_what_they_show(make) -> None:
    for seed in range(30):
        scene = make(np.random.default_rng(seed))
        assert max(scene.image.size) in (64, 128)
        assert scene.questions
        for question in scene.questions:
            assert question.answer not in question.others
            asked = with_options(question, np.random.default_rng(seed))
            assert asked.options[ord(asked.letter) - ord("A")] == question.answer
            assert len(set(asked.options)) == len(asked.options) <= 4


def test_some_questions_do_not_tell_what_they_need() -> None:
    """The same words about objects of very different size."""
    for make in (scenes.digit, scenes.lone_object):
        drawn = [make(np.random.default_rng(seed)) for seed in range(60)]
        assert len({scene.questions[0].text for scene in drawn}) == 1
        heights = [scene.canvas.marks[-1].box[3] - scene.canvas.marks[-1].box[1] for scene in drawn]
        assert min(heights) < 12
        assert max(heights) > 22


def test_knowledge_needs_no_image() -> None:
    for family in FAMILIES:
        questions = [family(np.random.default_rng(seed)) for seed in range(50)]
        assert all(q.need == "text" and q.answer not in q.others for q in questions)
        answers: dict[str, set[str]] = {}
        for q in questions:
            answers.setdefault(f"{q.hint}{q.text}", set()).add(q.answer)
        if family is not odd_one_in:  # there the options tell
            assert all(len(found) == 1 for found in answers.values())


def test_one_of_a_pair_of_images_shows_it() -> None:
    for seed in range(20):
        both, asked = pair(np.random.default_rng(seed))
        color = asked.question.text.split()[4]
        shown = [scene.questions[0].answer for scene in both]
        assert shown.count(color) == 1
        assert asked.options[shown.index(color)] == asked.question.answer


def test_token_labels_stand_where_things_are() -> None:
    for seed in range(20):
        canvas = scenes.sign(np.random.default_rng(seed)).canvas
        labels = token_labels(canvas, canvas.height // 8, canvas.width // 8).reshape(-1, canvas.width // 8, 2)
        seen = {NAMES[label] for label in labels[..., 0].reshape(-1) if label}
        word = {mark.name for mark in canvas.marks if mark.name}
        assert seen <= word
        assert len(seen) >= len(word) / 2
        assert {COLOR_NAMES[label] for label in labels[..., 1].reshape(-1) if label}
