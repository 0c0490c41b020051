"""LLaVA-Instruct, plain JSONL, sets from the hub's library, and mixtures."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import compose_config
from tests.data.test_bad_rows import MMMU_ROW
from tests.data.test_benchmarks import MMBENCH, mmbench_parquet, open_split, picture, write_tsv
from vovnet.data import item, load_dataset
from vovnet.data.mixture import RUN, interleaved
from vovnet.errors import VoVNetError
from vovnet.schema import HubConfig

TURNS = [
    {"from": "human", "value": "<image>\nWhat color is the bus?"},
    {"from": "gpt", "value": "It is red."},
    {"from": "human", "value": "And the sky?"},
    {"from": "gpt", "value": "Blue."},
]


def llava(folder: Path, rows: list[dict]) -> Path:
    (folder / "train2017").mkdir(parents=True, exist_ok=True)
    (folder / "train2017/000000033471.jpg").write_bytes(picture("red"))
    path = folder / "llava_instruct_150k.json"
    path.write_text(json.dumps(rows))
    return path


def test_every_human_turn_is_a_question(tmp_path: Path) -> None:
    row = {"id": "000000033471", "image": "000000033471.jpg", "conversations": TURNS}
    dataset = open_split("llava", llava(tmp_path, [row, {"id": "text", "conversations": TURNS}]), "train")
    assert [(dataset[i].question, dataset[i].answers) for i in range(len(dataset))] == [
        ("What color is the bus?", ("It is red.",)),
        ("And the sky?", ("Blue.",)),
    ]
    assert dataset[0].images[0].load().getpixel((0, 0)) == (254, 0, 0) or dataset[0].images[0].load().size == (20, 10)
    assert len({dataset[i].id for i in range(2)}) == 2
    assert item(dataset, 1)[2] == "And the sky?"
    with pytest.raises(VoVNetError, match="has no test split"):
        open_split("llava", tmp_path, "test")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image": "none.jpg"}, "image none.jpg is in no image folder"),
        ({"image": "../secret.jpg"}, "image ../secret.jpg is in no image folder"),
        ({"conversations": TURNS[:1]}, "it has no human turn followed by an answer"),
        ({"conversations": "x"}, "it has no human turn followed by an answer"),
    ],
)
def test_malformed_conversations(tmp_path: Path, change: dict, problem: str) -> None:
    row = {"id": "000000033471", "image": "000000033471.jpg", "conversations": TURNS}
    (tmp_path / "secret.jpg").write_bytes(picture("red"))
    path = llava(tmp_path / "data", [row, row | change])
    with pytest.raises(VoVNetError, match=rf"row 2: {problem}"):
        open_split("llava", path, "train")
    kept = open_split("llava", path, "train", "dataset.on_error=skip")
    assert (len(kept), len(kept.skipped)) == (2, 1)


LINES = [
    {"image": "a.png", "question": "What is it?", "answers": ["a cat", "cat"], "id": "first"},
    {"image": ["a.png", "b.png"], "question": "Which?", "options": ["left", "right"], "answer": "B", "hint": "Look."},
]


def jsonl(folder: Path, lines: list[object]) -> Path:
    for name, color in (("a", "red"), ("b", "blue")):
        (folder / f"{name}.png").write_bytes(picture(color))
    path = folder / "test.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_plain_lines(tmp_path: Path) -> None:
    dataset = open_split("jsonl", jsonl(tmp_path, [*LINES, ""]))
    free, choice = dataset[0], dataset[1]
    assert (free.id, free.answers, free.group, free.options) == ("first", ("a cat", "cat"), "a.png", ())
    assert (choice.id, choice.answers, len(choice.images)) == ("test-1", ("B",), 2)
    assert item(dataset, 0)[2] == "What is it?\nAnswer the question using a single word or phrase."
    assert item(dataset, 1)[2].startswith("Look. Which?\nA. left\nB. right\n\nAnswer with")


def test_answers_stay_as_they_are_written(tmp_path: Path) -> None:
    """datasets 5.2 turns a JSON column into numbers where one answer is a number, and texts like dates into times."""
    given = ["007", "1e5", "2020-01-02", 5, "null"]
    dataset = open_split(
        "jsonl", jsonl(tmp_path, [LINES[0] | {"id": str(i), "answers": [a]} for i, a in enumerate(given)])
    )
    assert [dataset[i].answers for i in range(len(given))] == [(str(answer),) for answer in given]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"image": "a.png", "question": "cut', "the line is no JSON"),
        ("[1]", r"'\[1\]' is no record"),
        (LINES[0] | {"question": " "}, "the question is empty"),
        (LINES[0] | {"image": None}, "there is no image"),
        (LINES[0] | {"image": "c.png"}, "image c.png is not in the folder"),
        (LINES[0] | {"image": "../c.png"}, "image ../c.png is not in the folder"),
        (LINES[0] | {"image": "/etc/hostname"}, "image /etc/hostname is not in the folder"),
        (LINES[0] | {"answers": []}, "there is no answer"),
        (LINES[1] | {"answer": "C"}, "answer 'C' is none of its options"),
        (LINES[0], "id first occurs twice"),
    ],
)
def test_malformed_lines(tmp_path: Path, line: object, problem: str) -> None:
    (tmp_path.parent / "c.png").write_bytes(picture("red"))
    path = jsonl(tmp_path, [*LINES, line])
    with pytest.raises(VoVNetError, match=rf"test.jsonl, row 3: {problem}"):
        open_split("jsonl", path)
    kept = open_split("jsonl", path, "test", "dataset.on_error=skip")
    assert len(kept) == 2
    assert problem.replace("\\", "") in kept.skipped[0]


def test_skip_leaves_broken_images_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path, LINES)
    (tmp_path / "b.png").write_bytes(picture("blue")[:40])
    kept = open_split("jsonl", path, "test", "dataset.on_error=skip")
    assert [kept[i].id for i in range(len(kept))] == ["first"]
    assert "b.png cannot be" in kept.skipped[0]


def test_fields_of_a_line_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(picture("red"))
    line = {"image": "a.png", "question": "What?", "answers": ["x"], "sources": "web", "Hint": "read"}
    (tmp_path / "test.jsonl").write_text(json.dumps(line) + "\n")
    open_split("jsonl", tmp_path)
    (said,) = caplog.messages
    assert "these fields are not read: sources (known: answer, answers, category, " in said


def test_where_every_row_is_skipped_the_first_says_why(tmp_path: Path) -> None:
    path = jsonl(tmp_path, LINES)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture("blue")[:40])
    with pytest.raises(
        VoVNetError, match=rf"no usable question in .*; all {len(LINES)} were skipped, the first since .*a.png"
    ):
        open_split("jsonl", path, "test", "dataset.on_error=skip")


def test_a_set_from_the_hubs_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the layout of a hub repository is opened as the library opens one it has downloaded."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    local = open_split("mmbench", mmbench_parquet(tmp_path / "dev-00000-of-00001.parquet"))
    repository = tmp_path / "repository"
    (repository / "en").mkdir(parents=True)
    table = datasets.Dataset.from_parquet(str(tmp_path / "dev-00000-of-00001.parquet"), cache_dir=str(tmp_path / "c"))
    table = table.cast_column("image", datasets.Image())
    table.to_parquet(repository / "en/dev-00000-of-00001.parquet")
    (repository / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: dev\n    path: en/dev-*\n---\n"
    )
    hub = load_dataset(compose_config("dataset=mmbench", f"dataset.hub.id={repository}").dataset, "test")
    assert len(hub) == len(local) == 1
    assert (hub[0].question, hub[0].options, hub[0].answers) == (local[0].question, local[0].options, local[0].answers)
    assert hub[0].images[0].load().tobytes() == local[0].images[0].load().tobytes()
    with pytest.raises(VoVNetError, match="has no train split"):
        load_dataset(compose_config("dataset=mmbench", f"dataset.hub.id={repository}").dataset, "train")


def test_jpeg_bytes_of_a_table_are_read_as_they_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not encoded anew, which changes pixels: `datasets.map` does so where it reads an image (datasets 5.2)."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    buffer, noise = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=60, comment=b"of another encoder")
    cells = [{"bytes": buffer.getvalue(), "path": path} for path in ("a.jpg", None)]  # not every table has a path
    rows = [MMMU_ROW | {"id": f"validation_Art_{n}", "image_1": cell} for n, cell in enumerate(cells)]
    (tmp_path / "data").mkdir()
    table = datasets.Dataset.from_list(rows).cast_column("image_1", datasets.Image())
    table.to_parquet(tmp_path / "data/validation-00000-of-00001.parquet")
    hub = replace(
        compose_config("dataset=mmmu").dataset, hub=HubConfig(str(tmp_path / "data"), (), "validation", "validation")
    )
    for found in (open_split("mmmu", tmp_path / "data"), load_dataset(hub, "test")):
        assert [found[n].images[0].content() == buffer.getvalue() for n in range(2)] == [True, True]
        assert found[1].images[0].load().tobytes() == Image.open(buffer).convert("RGB").tobytes()


def test_a_mixture_keeps_prompts_and_scoring_apart(tmp_path: Path, easy_data: Path) -> None:
    path = write_tsv(tmp_path / "MMBench_DEV_EN.tsv", MMBENCH)
    config = compose_config(
        "dataset=mini",
        "~dataset.parts.mini_mmmu",
        "~dataset.parts.mini_textvqa",
        "+dataset@dataset.parts.easy=easy_vqa",
        f"dataset.parts.easy.path={easy_data}",
        f"dataset.parts.mini_mmbench.path={path}",
        "dataset.parts.mini_mmbench.generate=null",
        "dataset.parts.mini_mmbench.files.test=['*DEV*.tsv']",
    ).dataset
    dataset = load_dataset(config, "test")
    assert [member.name for member in dataset.members] == ["mini_mmbench", "easy_vqa"]
    assert len(dataset) == sum(len(member) for member in dataset.members)
    choice, plain = (
        next(i for i in range(len(dataset)) if dataset.member(i).scorer == s) for s in ("mmbench/lmms_eval", "easy_vqa")
    )
    assert item(dataset, choice)[2].endswith("directly.")
    assert item(dataset, plain)[2] == dataset[plain].question
    assert dataset[choice].group.startswith("mini_mmbench:")
    assert dataset[plain].group.startswith("easy_vqa:")
    with pytest.raises(IndexError):
        dataset.member(len(dataset))


@pytest.mark.slow
def test_a_hundred_thousand_questions_open_in_seconds(tmp_path: Path) -> None:
    import resource
    import time

    (tmp_path / "a.png").write_bytes(picture("red"))
    line = {"image": "a.png", "question": "What is on the table in front of the window?", "answers": ["a vase"]}
    (tmp_path / "test.jsonl").write_text((json.dumps(line) + "\n") * 100_000)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    dataset = open_split("jsonl", tmp_path)
    seconds = time.process_time() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024  # at most: it counts the highest mark
    assert len(dataset) == 100_000
    assert grown < 500e6
    assert seconds < 30  # a bound for slow machines; the figure stands in the README


@given(st.lists(st.integers(0, 700), min_size=1, max_size=4).filter(any))
def test_any_first_part_of_a_mixture_holds_every_set_in_proportion(sizes: list[int]) -> None:
    order = interleaved(sizes)
    assert len(order) == sum(sizes)
    for number, size in enumerate(sizes):
        assert order[order[:, 0] == number, 1].tolist() == list(range(size))
    half = order[: len(order) // 2, 0]
    for number, size in enumerate(sizes):
        assert abs((half == number).sum() - size / 2) <= RUN * len(sizes)
