"""The mini sets, written from a seed into the exact formats of MMBench, MMMU and TextVQA.

Every image is drawn from a random stream of its own (seed, set, split, number), so that the files do not
depend on how many processes draw, and training and test images are never the same.
"""

import base64
import csv
import io
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vovnet.data.mini.compose import (
    OPEN_FAMILIES,
    PAIR_SHARE,
    RECIPES,
    SUBJECTS,
    Asked,
    draw_questions,
    draw_scene,
    jpeg,
    pair,
    with_options,
)
from vovnet.errors import VoVNetError
from vovnet.files import read_object, refuse_foreign, whole_folder
from vovnet.locks import Claim
from vovnet.ranks import end_with_parent
from vovnet.schema import GenerateConfig

log = logging.getLogger(__name__)
CIRCULAR = 10**6  # distance of MMBench's option-shifted copies
MMMU_IMAGES = 7
ANNOTATORS = 10
SPLITS = ("train", "test")
SETS = ("mini_mmbench", "mini_mmmu", "mini_textvqa")
FILE_NAMES = {"mini_mmbench": {"train": "MMBench_mini_train_EN.tsv", "test": "MMBench_mini_dev_EN.tsv"}}


@dataclass(frozen=True)
class Drawn:
    """An image or two with the questions about them, as drawn by a worker."""

    images: tuple[bytes, ...]
    asked: tuple[Asked, ...]
    subject: str


def ensure_mini(name: str, folder: Path, config: GenerateConfig, only_local: bool = False) -> None:
    """Write a set into ``folder`` unless it is there; of several processes one writes and the others wait.

    Raises:
        VoVNetError: the folder cannot be written, or holds a set of another seed or size, or something else; with
            ``only_local`` also where it holds nothing yet.
    """
    stamp = folder / "generated.json"
    wanted = {"set": name, "seed": config.seed, "train": config.train_images, "test": config.test_images}
    if not stamp.exists():
        if only_local:
            raise VoVNetError(f"{folder} holds no {name}; draw it by a command of your own with dataset={name}.")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with Claim(folder.with_name(f".{folder.name}.lock")):
                if not stamp.exists():
                    refuse_foreign(folder, stamp.name, "dataset.path")
                    log.info("generating %s in %s", name, folder)
                    whole_folder(folder, lambda place: _write(name, place, config, wanted))
        except OSError as error:
            raise VoVNetError(f"{name} cannot be written to {folder} ({error.strerror}); set dataset.path.") from error
    try:
        found = read_object(stamp)
    except (OSError, ValueError) as error:
        raise VoVNetError(f"{stamp} is damaged ({error}); remove {folder}, and it is drawn again.") from error
    if found != wanted:
        raise VoVNetError(f"{folder} holds {found}, but {wanted} is asked for; set another dataset.path.")


def _write(name: str, folder: Path, config: GenerateConfig, stamp: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    write = {"mini_mmbench": _write_mmbench, "mini_mmmu": _write_mmmu, "mini_textvqa": _write_textvqa}[name]
    for split, count in (("train", config.train_images), ("test", config.test_images)):
        write(folder, split, draw(name, split, count, config.seed))
    (folder / "generated.json").write_text(json.dumps(stamp))


def draw(name: str, split: str, count: int, seed: int) -> Iterator[Drawn]:
    """All images of a split in order, drawn by as many processes as there are cores."""
    streams = [(name, split, number, seed) for number in range(count)]
    forked = get_context("fork")  # whose parent is this process
    with ProcessPoolExecutor(os.cpu_count(), forked, end_with_parent, (os.getpid(),)) as pool:
        yield from pool.map(_draw_one, streams, chunksize=64)


def _draw_one(stream: tuple[str, str, int, int]) -> Drawn:
    name, split, number, seed = stream
    rng = np.random.default_rng([seed, SETS.index(name), SPLITS.index(split), number])
    if name == "mini_mmmu":
        return _draw_mmmu(number, rng)
    scene = draw_scene(RECIPES[name], rng)
    questions = draw_questions(RECIPES[name], scene, rng, hints=name == "mini_mmbench")
    asked = [with_options(q, rng) if name == "mini_mmbench" else Asked(q) for q in questions]
    return Drawn((jpeg(scene),), tuple(asked), "")


def _draw_mmmu(number: int, rng: np.random.Generator) -> Drawn:
    subject = list(SUBJECTS)[number % len(SUBJECTS)]
    if rng.random() < PAIR_SHARE:
        both, asked = pair(rng)
        return Drawn(tuple(jpeg(scene) for scene in both), (asked,), subject)
    scene = draw_scene(SUBJECTS[subject], rng)
    (question,) = draw_questions(SUBJECTS[subject], scene, rng, hints=False)
    free = question.family in OPEN_FAMILIES and rng.random() < 0.5
    return Drawn((jpeg(scene),), (Asked(question) if free else with_options(question, rng),), subject)


def _write_mmbench(folder: Path, split: str, drawn: Iterator[Drawn]) -> None:
    """A TSV; a second question about an image points to the first one's row; test rows have circular copies."""
    names = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "split"]
    rows, copies, index = [], [], 0
    for item in drawn:
        first = index
        for asked in item.asked:
            image = base64.b64encode(item.images[0]).decode() if index == first else str(first)
            rows.append(_mmbench_row(index, asked, image, split))
            for shift in range(1, len(asked.options) if split == "test" else 0):
                options = (*asked.options[shift:], *asked.options[:shift])
                copy = Asked(asked.question, options)
                copies.append(_mmbench_row(index + shift * CIRCULAR, copy, str(first), split))
            index += 1
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerows([[*names, "l2-category"], *rows, *copies])
    (folder / FILE_NAMES["mini_mmbench"][split]).write_text(buffer.getvalue(), encoding="utf-8")


def _mmbench_row(index: int, asked: Asked, image: str, split: str) -> list[str]:
    question = asked.question
    options = [*asked.options, *["nan"] * (4 - len(asked.options))]
    return [
        str(index), question.text, question.hint or "nan", *options, asked.letter, question.family, image,
        "vovnet mini", split, question.need,
    ]  # fmt: skip


def _write_mmmu(folder: Path, split: str, drawn: Iterator[Drawn]) -> None:
    """One parquet per subject, options as a stringified list, images as {bytes, path}."""
    file_split = "validation" if split == "test" else "train"
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    subjects: dict[str, list[dict[str, Any]]] = {subject: [] for subject in SUBJECTS}
    for item in drawn:
        (asked,), rows = item.asked, subjects[item.subject]
        name = f"{file_split}_{item.subject}_{len(rows) + 1}"
        marks = " ".join(f"<image {k + 1}>" for k in range(len(item.images)))
        shown = "" if len(item.images) > 1 else f"{marks} "
        images = {
            f"image_{k + 1}": {"bytes": item.images[k], "path": f"{name}_{k + 1}.jpg"} if k < len(item.images) else None
            for k in range(MMMU_IMAGES)
        }
        row = {
            "id": name, "question": f"{shown}{asked.question.text}", "options": str(list(asked.options)),
            "explanation": "", **images, "img_type": "['Drawings']",
            "answer": asked.letter if asked.options else asked.question.answer,
            "topic_difficulty": {"text": "Easy", "coarse": "Medium"}.get(asked.question.need, "Hard"),
            "question_type": "multiple-choice" if asked.options else "open", "subfield": asked.question.family,
        }  # fmt: skip
        rows.append(row)
    names = ("id", "question", "options", "explanation")
    last = ("img_type", "answer", "topic_difficulty", "question_type", "subfield")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in names),
            *((f"image_{k + 1}", cell) for k in range(MMMU_IMAGES)),
            *((name, pa.string()) for name in last),
        ]
    )
    for subject, rows in subjects.items():
        (folder / subject).mkdir(exist_ok=True)
        path = folder / subject / f"{file_split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _write_textvqa(folder: Path, split: str, drawn: Iterator[Drawn]) -> None:
    """The official JSON beside ``train_images``, which holds the validation images too, as upstream."""
    file_split = "val" if split == "test" else "train"
    images = folder / "train_images"
    images.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(drawn):
        image_id = f"{file_split}{number:06d}"
        (images / f"{image_id}.jpg").write_bytes(item.images[0])
        for asked in item.asked:
            rows.append(
                {
                    "question": asked.question.text,
                    "image_id": image_id,
                    "image_classes": [asked.question.family],
                    "question_id": len(rows),
                    "question_tokens": asked.question.text.lower().rstrip("?").split(),
                    "answers": _annotators(asked.question.answer, len(rows)),
                    "set_name": file_split,
                }
            )
    content = {"dataset_type": file_split, "dataset_name": "textvqa", "dataset_version": "0.5.1", "data": rows}
    (folder / f"TextVQA_0.5.1_{file_split}.json").write_text(json.dumps(content))


def _annotators(answer: str, number: int) -> list[str]:
    """Ten answers; one or two annotators put it otherwise, as people do."""
    rng = np.random.default_rng(number)
    others = [f"the {answer}", f"{answer}.", "unanswerable", "i don't know"]
    odd = rng.integers(3)
    answers = [answer] * (ANNOTATORS - odd) + [others[rng.integers(len(others))] for _ in range(odd)]
    return [answers[i] for i in rng.permutation(ANNOTATORS)]
