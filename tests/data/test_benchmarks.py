"""MMBench, MMMU and TextVQA in their published layouts, with their quirks."""

import base64
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import compose_config
from vovnet.actions import Action
from vovnet.data import VQADataset, load_dataset, prompt_text
from vovnet.data.mmbench import _groups as mmbench_groups
from vovnet.errors import VoVNetError
from vovnet.results.evaluate import evaluate
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.qwen.loading import load_builder


def picture(color: str, size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def open_split(name: str, path: Path, split: str = "test", *overrides: str) -> VQADataset:
    return load_dataset(compose_config(f"dataset={name}", f"dataset.path={path}", *overrides).dataset, split)


HEADER = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "l2-category"]
RED, BLUE = (base64.b64encode(picture(color)).decode() for color in ("red", "blue"))
MMBENCH = [
    ["241", "Which\nis it?", "Look at\t\"this\".", "x", "y", "z", "w", "B", "attr", RED, "s", "l2"],
    ["242", "Same image?", "nan", "yes", "no", "nan", "nan", "A", "attr", "241", "s", "l2"],
    ["243", "Other?", "", "yes", "no", "", "", "A", "logic", BLUE, "s", "l2"],
    ["1000243", "Other?", "", "no", "yes", "", "", "B", "logic", "243", "s", "l2"],
]  # fmt: skip


def write_tsv(path: Path, rows: list[list[str]]) -> Path:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([HEADER, *rows])
    return path


def test_mmbench_tsv(tmp_path: Path) -> None:
    dataset = open_split("mmbench", write_tsv(tmp_path / "MMBench_DEV_EN.tsv", MMBENCH))
    first, pointer, _, circular = (dataset[i] for i in range(4))
    assert len(dataset) == 4
    assert (first.question, first.hint, first.answers) == ("Which\nis it?", 'Look at\t"this".', ("B",))
    assert (pointer.options, pointer.hint) == (("yes", "no"), "")
    assert pointer.images[0].load().getpixel((0, 0)) == (255, 0, 0)
    assert dataset[2].images[0].load().getpixel((0, 0)) == (0, 0, 255)
    assert circular.images[0].load().getpixel((0, 0)) == (0, 0, 255)
    assert (circular.group, circular.circle, circular.id, circular.is_copy) == ("243", "243", "1000243", True)
    assert (dataset[2].circle, dataset[2].rotations, circular.rotations) == ("243", 2, 2)
    assert (first.group, pointer.group) == (first.id, first.id)  # one image
    assert (first.circle, pointer.circle, first.rotations) == (first.id, pointer.id, 1)
    assert first.images[0].size() == (20, 10)
    assert prompt_text(dataset, first) == (
        'Look at\t"this". Which\nis it? There are several options:\nA. x\nB. y\nC. z\nD. w\n\n'
        "Answer with the option's letter from the given choices directly."
    )
    assert "nan" not in prompt_text(dataset, pointer)


def test_options_stay_as_they_are_written(tmp_path: Path) -> None:
    """pandas 3.1 reads the first three as missing, and a column in which only numbers are left as 1.5 and 2.0."""
    rows = [
        ["1", "Which word?", "", "None", "NA", "null", "n/a", "B", "attr", RED, "s", "l2"],
        ["2", "Which number?", "", "1.50", "007", "1e5", "2", "A", "attr", RED, "s", "l2"],
    ]
    dataset = open_split("mmbench", write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows))
    assert [dataset[i].options for i in range(2)] == [("None", "NA", "null", "n/a"), ("1.50", "007", "1e5", "2")]


def test_mmbench_has_no_training_split(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "MMBench_DEV_EN.tsv", MMBENCH)
    with pytest.raises(VoVNetError, match="has no train split"):
        open_split("mmbench", path, "train")
    with pytest.raises(VoVNetError, match="holds no test file"):
        open_split("mmbench", path.rename(tmp_path / "other.tsv"))


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        (0, "x", "index 'x' is no number"),
        (1, "", "the question is empty"),
        (7, "D", "answer 'D' is none of its options"),
        (7, "E", "answer 'E' is none of its options"),
        (7, "", "there is no answer"),
        (9, "", "there is no image"),
        (9, "999", "its image is that of row 999, which is not there"),
    ],
)
def test_malformed_mmbench_rows(tmp_path: Path, column: int, value: str, problem: str) -> None:
    rows = [list(row) for row in MMBENCH]
    rows[1][column] = value
    path = write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)
    with pytest.raises(VoVNetError, match=rf"MMBench_DEV_EN.tsv, row 2 \(line 4\): {problem}.*dataset.on_error=skip"):
        open_split("mmbench", path)
    kept = open_split("mmbench", path, "test", "dataset.on_error=skip")
    assert len(kept) == 3
    assert len(kept.skipped) == 1
    assert problem in kept.skipped[0]


def test_bad_base64_is_named(tmp_path: Path) -> None:
    rows = [[*MMBENCH[0][:9], "!" * 100, "s", "l2"]]
    path = write_tsv(tmp_path / "MMBench_DEV_EN.tsv", [*rows, MMBENCH[2]])
    with pytest.raises(VoVNetError, match=r"MMBench_DEV_EN.tsv, row 1 \(line 2\): its image is no base64"):
        open_split("mmbench", path)
    assert len(open_split("mmbench", path, "test", "dataset.on_error=skip").skipped) == 1


def image_cell(color: str) -> dict:
    return {"bytes": picture(color), "path": f"{color}.png"}


def mmbench_parquet(path: Path) -> Path:
    names = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "L2-category"]
    rows = [[7, "Which?", "nan", "x", "y", "nan", "nan", "B", "attr", image_cell("red"), "s", "l2"]]
    pq.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]), path)
    return path


def test_mmbench_parquet(tmp_path: Path) -> None:
    dataset = open_split("mmbench", mmbench_parquet(tmp_path / "dev-00000-of-00001.parquet"))
    assert (dataset[0].id, dataset[0].options, dataset[0].answers) == ("7", ("x", "y"), ("B",))
    assert dataset[0].images[0].load().getpixel((0, 0)) == (255, 0, 0)


def mmmu_rows() -> list[dict]:
    empty = {f"image_{k}": None for k in range(1, 8)}
    common = {"explanation": "the answer is B, a secret", "topic_difficulty": "Easy", "img_type": "['Tables']"}
    return [
        common | empty | {
            "id": "validation_Accounting_1", "question": "What of <image 1>?", "options": "['<image 2>', \"it's\"]",
            "answer": "B", "question_type": "multiple-choice", "subfield": "x",
            "image_1": image_cell("red"), "image_2": image_cell("blue"),
        },
        common | empty | {
            "id": "validation_Art_Theory_12", "question": "Name <image 1>.", "options": "[]",
            "answer": "['blue', 'navy blue']", "question_type": "open", "subfield": "x", "image_1": image_cell("blue"),
        },
    ]  # fmt: skip


def test_mmmu(tmp_path: Path) -> None:
    folder = tmp_path / "Accounting"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(mmmu_rows()), folder / "validation-00000-of-00001.parquet")
    dataset = open_split("mmmu", tmp_path)
    choice, free = dataset[0], dataset[1]
    assert (choice.options, choice.answers, choice.category) == (("<image 2>", "it's"), ("B",), "Accounting")
    assert [image.load().getpixel((0, 0)) for image in choice.images] == [(255, 0, 0), (0, 0, 255)]
    assert (free.options, free.answers, free.category) == ((), ("blue", "navy blue"), "Art_Theory")
    assert prompt_text(dataset, choice) == (
        "What of <image 1>?\nA. <image 2>\nB. it's\n\nAnswer with the option's letter from the given choices directly."
    )
    assert prompt_text(dataset, free) == "Name <image 1>.\n\nAnswer the question using a single word or phrase."
    assert "secret" not in prompt_text(dataset, choice)


def test_images_of_mmmu_stand_at_the_first_mark_of_their_number(tmp_path: Path) -> None:
    """lmms-eval 0.7.3 would show image 1 at the mark of image 2, and drop the words before a mark that comes again."""
    rows = mmmu_rows()
    rows[0] |= {"question": "Is <image 2> left of <image 1>, or <image 2> above?", "options": "['yes', 'no']"}
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    plain, marked = (open_split("mmmu", path, "test", *more) for more in ((), ("dataset.interleave=true",)))
    assert (plain[0].marks, plain[0].images) == ((), marked[0].images[::-1])
    assert marked[0].marks == ("<image 2>", "<image 1>")
    assert [image.load().getpixel((0, 0)) for image in marked[0].images] == [(0, 0, 255), (255, 0, 0)]
    before, between, after = marked[0].around_images(prompt_text(marked, marked[0]))
    assert (before, between) == ("Is", "left of")
    assert after.startswith(", or <image 2> above?\nA. yes")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"options": "not a list"}, "are no list"),
        ({"answer": "C"}, "is none of its options"),
        ({"image_2": None}, "image 2 is not there"),
        ({"question": " "}, "the question is empty"),
    ],
)
def test_malformed_mmmu_rows(tmp_path: Path, change: dict, problem: str) -> None:
    rows = mmmu_rows()
    rows[0] |= change
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(VoVNetError, match=rf"row 1: .*{problem}"):
        open_split("mmmu", path)


TEXTVQA = {
    "question": "what IS the brand?", "image_id": "0054c91397f2fe05", "question_id": 34602,
    "answers": ["nokia"] * 9 + ["toshiba"], "ocr_tokens": ["SECRET-OCR"], "set_name": "val",
}  # fmt: skip


def test_textvqa_json(tmp_path: Path) -> None:
    (tmp_path / "train_images").mkdir()
    (tmp_path / "train_images/0054c91397f2fe05.jpg").write_bytes(picture("red"))
    path = tmp_path / "TextVQA_0.5.1_val.json"
    path.write_text(json.dumps({"dataset_type": "val", "data": [TEXTVQA]}))
    dataset = open_split("textvqa", path)
    assert (dataset[0].id, len(dataset[0].answers)) == ("34602", 10)
    text = prompt_text(dataset, dataset[0])
    assert text == "What is the brand?\nAnswer the question using a single word or phrase."
    assert dataset[0].images[0].load().size == (20, 10)
    (tmp_path / "train_images/0054c91397f2fe05.jpg").write_bytes(picture("blue"))
    assert open_split("textvqa", path).fingerprint != dataset.fingerprint


@pytest.mark.parametrize("image_id", ["missing", "../secret"])
def test_textvqa_images_come_from_their_folder_only(tmp_path: Path, image_id: str) -> None:
    (tmp_path / "data/train_images").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(picture("red"))
    path = tmp_path / "data/TextVQA_0.5.1_val.json"
    path.write_text(json.dumps({"data": [TEXTVQA | {"image_id": image_id}]}))
    with pytest.raises(VoVNetError, match="is in no image folder beside the file"):
        open_split("textvqa", path)


def test_textvqa_parquet_and_broken_json(tmp_path: Path) -> None:
    row = TEXTVQA | {"image": image_cell("blue")}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "validation-00000-of-00003.parquet")
    dataset = open_split("textvqa", tmp_path)
    assert dataset[0].images[0].load().getpixel((0, 0)) == (0, 0, 255)
    (tmp_path / "TextVQA_0.5.1_val.json").write_text('{"data": [{"question"')
    with pytest.raises(VoVNetError, match="is no JSON with rows under `data`"):
        open_split("textvqa", tmp_path)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "MMBench_DEV_EN.tsv").write_text("")
    with pytest.raises(VoVNetError, match="no usable question"):
        open_split("mmbench", tmp_path)
    (tmp_path / "validation-00000.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(VoVNetError, match="is no readable parquet file"):
        open_split("mmmu", tmp_path)
    (tmp_path / "TextVQA_0.5.1_val.json").write_text("[3]")
    with pytest.raises(VoVNetError, match=r"row 1: '3' is no record"):
        open_split("textvqa", tmp_path / "TextVQA_0.5.1_val.json")


@pytest.mark.parametrize("name", ["mmbench", "mmmu", "textvqa"])
def test_without_files_it_says_what_to_download(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        VoVNetError, match=r"neither in the local cache nor to be downloaded .*; download .*set dataset.path"
    ):
        load_dataset(compose_config(f"dataset={name}").dataset, "test")
    with pytest.raises(VoVNetError, match=r"holds no test file .*download"):
        open_split(name, tmp_path)


def test_several_images_cost_the_sum_and_run_through(tmp_path: Path, qwen3: Path) -> None:
    path = tmp_path / "validation-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(mmmu_rows()), path)
    config = compose_config(
        "dataset=mmmu", f"dataset.path={path}", f"backbone.path={qwen3}", f"paths.runs={tmp_path}/runs",
        "policy/baseline=always_full", "eval.max_new_tokens=2",
    )  # fmt: skip
    builder = load_builder(config.backbone, config.vision_budget, find_checkpoint(config.backbone))
    samples = [load_dataset(config.dataset, "test")[i] for i in range(2)]
    one, two = (builder.tokens(s, [Action.FULL])[0] for s in reversed(samples))
    assert two == 2 * one > 0
    row = evaluate(config, tmp_path / "run").row
    assert (row.num_samples, row.avg_vision_tokens) == (2, 1.5 * one)


def test_a_large_file_opens_without_its_images(tmp_path: Path) -> None:
    """Memory follows the questions: the images of this file are fifty times its text."""
    import tracemalloc

    blob = base64.b64encode(picture("red") + bytes(30_000)).decode()
    rows = [[str(i), f"Question {i}?", "", "yes", "no", "", "", "A", "c", blob, "s", "l"] for i in range(1000)]
    path = write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)
    tracemalloc.start()
    dataset = open_split("mmbench", path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset) == 1000
    assert path.stat().st_size > 40e6
    assert held < 6e6


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_questions_of_one_image_are_one_group_by_whatever_way(pairs: list[tuple[int, int]]) -> None:
    groups = mmbench_groups(pairs)
    parts: list[set[int]] = []  # joined one by one
    for pair in pairs:
        touched = [part for part in parts if part & set(pair)]
        parts = [part for part in parts if part not in touched] + [set(pair).union(*touched)]
    assert groups == {number: min(part) for part in parts for number in part}
