"""Damaged table files: one sentence with file and row, or the rows that are whole."""

import base64
import contextlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import compose_config
from tests.data.test_benchmarks import HEADER, MMBENCH, RED, picture, write_tsv
from vovnet.data import VQADataset, load_dataset
from vovnet.data.tables import json_rows
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig, SplitFiles

MMMU_ROW = {
    "id": "validation_Art_1", "question": "<image 1> Which?", "options": "['a', 'b']", "answer": "B",
    "question_type": "multiple-choice", "image_1": {"bytes": picture("red"), "path": "1.png"},
}  # fmt: skip
TEXTVQA_ROW = {"question": "What?", "question_id": 7, "image_id": "a", "answers": ["x"] * 10}
LLAVA_ROW = {"id": "1", "image": "a.jpg", "conversations": [
    {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bus."}]}  # fmt: skip
JSONL_ROW = {"image": "a.jpg", "question": "What?", "answers": ["x"], "id": "7"}
FILES = {
    "mmbench": "MMBench_DEV_EN.tsv", "mmmu": "validation-0.parquet", "textvqa": "TextVQA_val.json",
    "llava": "llava_instruct.json", "jsonl": "test.jsonl", "easy_vqa": "test/questions.json",
}  # fmt: skip
GOOD = {"mmbench": MMBENCH[0], "mmmu": MMMU_ROW, "textvqa": TEXTVQA_ROW, "llava": LLAVA_ROW, "jsonl": JSONL_ROW,
        "easy_vqa": ["what?", "red", 0]}  # fmt: skip


def write(folder: Path, name: str, rows: list) -> Path:
    """A file of a kind with its images beside it; returns what dataset.path names."""
    path = folder / FILES[name]
    for images in (folder, folder / "train_images", folder / "test/images"):
        images.mkdir(parents=True, exist_ok=True)
        for file in ("a.jpg", "0.png"):
            (images / file).write_bytes(picture("red"))
    if name == "mmbench":
        write_tsv(path, rows)
    elif name == "mmmu":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "jsonl":
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    else:
        path.write_text(json.dumps({"data": rows} if name == "textvqa" else rows), encoding="utf-8")
    return folder if name == "easy_vqa" else path


@cache
def configured(name: str) -> DatasetConfig:
    return compose_config(f"dataset={name}").dataset


def opened(name: str, path: Path, on_error: Literal["raise", "skip"] = "raise") -> VQADataset:
    config = replace(configured(name), path=str(path), on_error=on_error)
    return load_dataset(config, "train" if name == "llava" else "test")


def mmbench(**changes: str) -> list[str]:
    lower = [name.lower() for name in HEADER]
    row = ["9", "What?", "", "x", "y", "", "", "A", "attr", RED, "s", "l2"]
    for column, value in changes.items():
        row[lower.index(column)] = value
    return row


BAD = [
    ("mmbench", mmbench(image=RED[:-1] + "!"), "its image is no base64"),
    ("mmbench", mmbench(image="9"), "its image is that of row 9, which is not there"),
    ("mmbench", mmbench(image="999"), "its image is that of row 999, which is not there"),
    ("mmbench", mmbench(image="-1"), "image '-1' is no row's index"),
    ("mmbench", mmbench(image=""), "there is no image"),
    ("mmbench", mmbench(question=" "), "the question is empty"),
    ("mmbench", mmbench(answer="C"), "answer 'C' is none of its options"),
    ("mmbench", mmbench(answer="a"), "answer 'a' is none of its options"),
    ("mmbench", mmbench(answer="AB"), "answer 'AB' is none of its options"),
    ("mmbench", mmbench(index="9" * 400), "is no number"),
    ("mmbench", mmbench(index="1.5"), "index '1.5' is no number"),
    ("mmbench", mmbench(index="\u0663"), "is no number"),
    ("mmbench", mmbench(index=MMBENCH[0][0]), "id 241 occurs twice"),
    ("mmbench", ["9", "cut"], "it has 2 fields, the header has 12"),
    ("mmmu", {"options": "['a'"}, "are no list of texts"),
    ("mmmu", {"options": "5"}, "are no list of texts"),
    ("mmmu", {"options": "['a' 'b' 'c']"}, "are no list of texts"),
    ("mmmu", {"options": "['a', 'b'\n 'c']", "answer": "A"}, "are no list of texts"),
    ("mmmu", {"options": "[['a'], 'b']"}, "are no list of texts"),
    ("mmmu", {"options": "[" * 5000}, "are no list of texts"),
    ("mmmu", {"options": "__import__('os').system('true')"}, "are no list of texts"),
    ("mmmu", {"options": "[{[]: 1}]"}, "are no list of texts"),
    ("mmmu", {"question_type": None}, "question_type '' is neither multiple-choice nor open"),
    ("mmmu", {"question_type": "Multiple-choice"}, "is neither multiple-choice nor open"),
    ("mmmu", {"options": "['a', '']"}, "option B is empty"),
    ("mmmu", {"options": str(["x"] * 27)}, "it has 27 options"),
    ("mmmu", {"answer": "C"}, "answer 'C' is none of its options"),
    ("mmmu", {"answer": ""}, "answer '' is none of its options"),
    ("mmmu", {"question": "<image 2>?"}, "image 2 is not there"),
    ("mmmu", {"question": f"<image {'9' * 5000}>?"}, "it shows no image"),
    ("mmmu", {"id": None}, "the id is empty"),
    ("mmmu", {}, "id validation_Art_1 occurs twice"),
    ("textvqa", {"question_id": 8, "question": ["a"]}, "question is no text"),
    ("textvqa", {"question_id": 8, "question": "\ud800"}, "half of a surrogate pair"),
    ("textvqa", {"question_id": 8, "answers": "x"}, "there are no answers"),
    ("textvqa", {"question_id": 8, "answers": [None] * 6 + ["red"] * 4}, "there are no answers"),
    ("textvqa", {"question_id": 8, "answers": [""] * 10}, "there are no answers"),
    ("textvqa", {"question_id": 8, "answers": [{}]}, "there are no answers"),
    ("textvqa", {"question_id": 8, "image_id": "../a"}, "image ../a is in no image folder"),
    ("textvqa", {"question_id": 8, "image_id": "a\0"}, "is in no image folder"),
    ("textvqa", {"question_id": 8, "image_id": "x" * 5000}, "is in no image folder"),
    ("textvqa", {}, "id 7 occurs twice"),
    ("llava", {"image": ["a.jpg"]}, "image is no text"),
    ("llava", {"image": "/etc/hostname"}, "image /etc/hostname is in no image folder"),
    ("llava", {"conversations": [1, None]}, "it has no human turn"),
    ("llava", {"conversations": LLAVA_ROW["conversations"][::-1]}, "it has no human turn"),
    ("llava", {"conversations": [LLAVA_ROW["conversations"][0], "cut", *LLAVA_ROW["conversations"]]}, "turn 1 of its"),
    ("jsonl", '{"image": "a.jpg", "question": "cut', "the line is no JSON"),
    ("jsonl", "[" * 100_000, "the line is no JSON"),
    ("jsonl", "5", "'5' is no record"),
    ("jsonl", {"id": "8", "Question": "What?"}, "two of its fields have the same name"),
    ("jsonl", '{"image": "a.jpg", "image": "a.jpg", "question": "?", "answers": ["x"]}', "a field occurs twice"),
    ("jsonl", {"id": "8", "question": None}, "the question is empty"),
    ("jsonl", {"id": "8", "question": {"a": 1}}, "question is no text"),
    ("jsonl", {"id": "8", "hint": ["a"]}, "hint is no text"),
    ("jsonl", {"id": "8", "answers": [["x"]]}, "answers are neither a text nor a list"),
    ("jsonl", {"id": "8", "answers": {"x": 1}}, "answers are neither a text nor a list"),
    ("jsonl", {"id": "8", "answers": [""]}, "there is no answer"),
    ("jsonl", {"id": "8", "options": ["a", "", "c"], "answers": ["C"]}, "option B is empty"),
    ("jsonl", {"id": "8", "options": {"A": "a"}, "answers": ["A"]}, "options are neither a text nor a list"),
    ("jsonl", {"id": "8", "options": ["a"], "answers": ["B"]}, "answer 'B' is none of its options"),
    ("jsonl", {"id": "8", "options": ["a"] * 27, "answers": ["A"]}, "it has 27 options"),
    ("jsonl", {"id": "8", "image": "link.jpg"}, "image link.jpg is not in the folder"),
    ("jsonl", {"id": "8", "image": "ring.jpg"}, "image ring.jpg is not in the folder"),
    ("jsonl", {"id": "8", "image": "sub/../../a.jpg"}, "is not in the folder"),
    ("jsonl", {"id": "8", "image": "\udc80.jpg"}, "half of a surrogate pair"),
    ("jsonl", {"id": "8", "image": []}, "there is no image"),
    ("easy_vqa", ["what?", "red", True], "expected"),
    ("easy_vqa", ["what?", "red", -1], "expected"),
    ("easy_vqa", ["what?", "", 0], "expected"),
    ("easy_vqa", ["\ud800", "red", 0], "expected"),
    ("easy_vqa", {"question": "what?"}, "expected"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "problem"), BAD)
def test_a_bad_row_is_named_or_skipped_and_listed(tmp_path: Path, name: str, row, problem: str) -> None:
    (tmp_path / "outside.jpg").write_bytes(picture("red"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "ring.jpg").symlink_to(folder / "ring.jpg")
    changed = GOOD[name] | row if isinstance(row, dict) and isinstance(GOOD[name], dict) else row
    path = write(folder, name, [GOOD[name], changed])
    with pytest.raises(VoVNetError) as caught:
        opened(name, path)
    sentence = str(caught.value)
    assert f"{FILES[name]}, row 2" in sentence
    assert problem in sentence
    assert sentence.endswith("; fix the row, or set dataset.on_error=skip.")
    assert "\n" not in sentence
    kept = opened(name, path, "skip")
    assert len(kept) == len(opened(name, write(folder, name, [GOOD[name]])))
    assert len(kept.skipped) == 1
    assert problem in kept.skipped[0]


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 50, b"\xff\xfe\x00a" * 20, b"[" * 100_000, b'{"data": 5}', b"PAR1" + b"x" * 40 + b"PAR1"]
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path, name, [GOOD[name]])
    (tmp_path / FILES[name]).write_bytes(content)
    for on_error in ("raise", "skip"):
        with pytest.raises(VoVNetError, match=Path(FILES[name]).name) as caught:
            opened(name, path, on_error)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_folder_in_a_files_place(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, [GOOD[name]])
    (tmp_path / FILES[name]).unlink()
    (tmp_path / FILES[name]).mkdir()
    with pytest.raises(VoVNetError):
        opened(name, path)


@pytest.mark.parametrize("name", ["mmbench", "textvqa", "llava", "jsonl"])
@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n") + b"\r\n"])
def test_byte_order_marks_and_windows_lines_are_read(tmp_path: Path, name: str, change) -> None:
    path = write(tmp_path, name, [GOOD[name]])
    plain = opened(name, path)[0]
    (tmp_path / FILES[name]).write_bytes(change((tmp_path / FILES[name]).read_bytes()))
    again = opened(name, path)[0]
    assert (again.id, again.question, again.answers) == (plain.id, plain.question, plain.answers)


def test_latin_1_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "mmbench", [mmbench(question="caf\u00e9")])
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xe9"))
    with pytest.raises(VoVNetError, match="is not in UTF-8"):
        opened("mmbench", path)


@pytest.mark.parametrize("column", ["index", "question", "answer", "image"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write(tmp_path, "mmbench", [mmbench()])
    place = HEADER.index(column)
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    path.write_text("\n".join("\t".join(c for i, c in enumerate(line) if i != place) for line in lines))
    with pytest.raises(VoVNetError, match=rf"row 1.*: .*{column}"):
        opened("mmbench", path)


def test_rows_left_out_change_the_fingerprint(tmp_path: Path) -> None:
    """Or outcomes that are stored by place would be read for other questions."""
    broken = base64.b64encode(picture("red")[:40] + b"x" * 40).decode()
    path = write(tmp_path, "mmbench", [mmbench(index="1", image=broken), mmbench(index="2")])
    whole, kept = opened("mmbench", path), opened("mmbench", path, "skip")
    assert (len(whole), len(kept)) == (2, 1)
    assert whole.fingerprint != kept.fingerprint


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", ["mmbench", "mmmu", "textvqa", "llava", "jsonl", "easy_vqa"])
@given(data=st.data())
def test_any_damage_is_a_data_set_or_one_sentence(tmp_path: Path, name: str, data) -> None:
    path = write(tmp_path, name, [GOOD[name]])
    file = tmp_path / FILES[name]
    content = bytearray(file.read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6)):
        content[place % len(content)] = value
    file.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    with contextlib.suppress(VoVNetError):
        opened(name, path, data.draw(st.sampled_from(["raise", "skip"])))


def test_an_image_may_stand_twice_in_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl", [JSONL_ROW | {"image": ["a.jpg", "a.jpg"]}])
    assert len(opened("jsonl", path)[0].images) == 2


def test_columns_that_are_named_alike_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "mmbench", [mmbench()])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0]}\tQuestion", f"{lines[1]}\tother"]))
    with pytest.raises(VoVNetError, match="two columns named 'question'"):
        opened("mmbench", path)
    for second in ("question", "Question"):
        path = write(tmp_path, "mmmu", [MMMU_ROW])
        table = pq.read_table(path)
        pq.write_table(table.append_column(second, table["question"]), path)
        with pytest.raises(VoVNetError, match="two columns named 'question'"):
            opened("mmmu", path)


def test_a_date_that_python_cannot_hold_is_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "mmmu", [MMMU_ROW])
    dates = pa.array([2**62], pa.timestamp("us"))
    pq.write_table(pq.read_table(path).append_column("made", dates), path)
    with pytest.raises(VoVNetError, match="cannot be read"):
        opened("mmmu", path)


def test_easy_vqa_reads_the_file_that_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "easy_vqa", [GOOD["easy_vqa"]])
    (tmp_path / "test/few.json").write_text(json.dumps([["which?", "red", 0]]))
    config = replace(configured("easy_vqa"), path=str(path), files=SplitFiles((), ("test/few.json",)))
    assert load_dataset(config, "test")[0].question == "which?"
    with pytest.raises(VoVNetError, match="one file a split"):
        load_dataset(config, "train")


def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "mmbench", [mmbench(index=str(number)) for number in range(5)])
    lines = path.read_text().splitlines()
    lines[2] = lines[2].rpartition("\t")[0] + '\t"l2'
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        VoVNetError, match=r"row 2 \(line 3\): its l2-category begins with a quote that would take whole rows"
    ):
        opened("mmbench", path)


def test_quotes_inside_options_are_read(tmp_path: Path) -> None:
    row = MMMU_ROW | {"options": """["", "it's", 'b', '"c" "d"']""", "question_type": "open"}
    assert len(opened("mmmu", write(tmp_path, "mmmu", [row]))) == 1


def test_nan_is_a_word_where_no_pandas_wrote_it(tmp_path: Path) -> None:
    row = JSONL_ROW | {"answers": ["nan"]}
    assert opened("jsonl", write(tmp_path, "jsonl", [row]))[0].answers == ("nan",)
    assert opened("mmbench", write(tmp_path, "mmbench", [mmbench(hint="nan")]))[0].hint == ""


@pytest.mark.parametrize("target", ["../../../outside.png", "/dev/zero", "0.png"])
def test_easy_vqas_images_lie_in_its_folder(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside.png").write_bytes(picture("red"))
    path = write(tmp_path / "data", "easy_vqa", [GOOD["easy_vqa"]])
    image = path / "test/images/0.png"
    image.unlink()
    image.symlink_to(target)
    with pytest.raises(VoVNetError, match=r"row 1: image 0.png is no file in the folder"):
        opened("easy_vqa", path)


def test_two_parts_of_one_kind_are_told_apart(tmp_path: Path) -> None:
    parts = {}
    for name in ("left", "right"):
        folder = tmp_path / name
        parts[name] = replace(configured("jsonl"), path=str(write(folder, "jsonl", [JSONL_ROW])))
    config = replace(configured("mini"), parts=parts)
    mixture = load_dataset(config, "test")
    assert [mixture[i].id for i in range(2)] == ["left:7", "right:7"]
    (tmp_path / "left/test.jsonl").write_text("{")
    with pytest.raises(VoVNetError, match=r"set dataset.on_error=skip"):
        load_dataset(config, "test")
    (tmp_path / "left/test.jsonl").write_text("{\n" + json.dumps(JSONL_ROW))
    assert len(load_dataset(replace(config, on_error="skip"), "test")) == 2


@pytest.mark.parametrize("name", ["textvqa", "llava", "jsonl", "easy_vqa"])
@pytest.mark.parametrize("begin", ["[", '{"data":', '[{"a":'])
def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path: Path, name: str, begin: str) -> None:
    path = write(tmp_path, name, [GOOD[name]])
    (tmp_path / FILES[name]).write_text(begin + "[" * 10**5)
    with pytest.raises(VoVNetError, match=r"too deeply|no JSON"):
        opened(name, path)


def test_a_file_that_is_nested_too_deeply_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('{"data": ' + "[" * 100_000)
    with pytest.raises(VoVNetError, match=r"rows\.json is no JSON with rows under `data`"):
        list(json_rows(tmp_path / "rows.json"))
