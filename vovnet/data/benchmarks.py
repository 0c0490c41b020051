"""MMBench, MMMU and TextVQA in the files they are distributed in.

Everything but images is read at once; images stay in their files until they are looked at.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vovnet.data.embedded import ParquetImage, TsvImage
from vovnet.data.rows import RowErrors, files_under
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import POINTER_LENGTH, cell_text, json_rows, lower_names, parquet_rows, tsv_rows
from vovnet.errors import VoVNetError
from vovnet.files import fingerprint_files
from vovnet.schema import DatasetConfig

CIRCULAR = 10**6  # option-shifted copies of MMBench's row i stand at i + k * 1,000,000


@dataclass(frozen=True)
class Rows:
    """A benchmark's way of reading: a file's samples, with unusable rows reported."""

    name: str
    metric: str
    advice: str
    read: Callable[[Path, RowErrors], Iterator[Sample]]


class Benchmark:
    """One split of a benchmark, in file order."""

    def __init__(self, rows: Rows, config: DatasetConfig, split: str) -> None:
        self.name, self.metric, self.scorer = config.name, rows.metric, rows.name
        self.split, self.config = split, config
        patterns = config.files.train if split == "train" else config.files.test
        files = files_under(config.path, patterns, split, config.name, rows.advice)
        errors = RowErrors(config.on_error)
        self._samples = [sample for file in files for sample in rows.read(file, errors)]
        self.skipped = tuple(errors.skipped)
        if not self._samples:
            raise VoVNetError(f"no usable question in {', '.join(str(f) for f in files)}; {rows.advice}")
        # Images in files of their own count too: another image is another outcome.
        self.fingerprint = fingerprint_files({*files, *(i.path for sample in self._samples for i in sample.images)})

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


def read_mmbench(path: Path, errors: RowErrors) -> Iterator[Sample]:
    """MMBench: a TSV with base64 images, or the hub's parquet."""
    rows = tsv_rows(path) if path.suffix == ".tsv" else parquet_rows(path, "image")
    samples, images = [], {}
    for number, row, image in rows:
        key = lower_names(row)
        problem = _mmbench_problem(key)
        if problem:
            errors.report(path, number, problem)
            continue
        index = int(float(key["index"]))
        pointer = str(key.get("image") or "") if isinstance(image, TsvImage) else ""
        images[index] = image
        points_to = int(float(pointer)) if 0 < len(pointer) <= POINTER_LENGTH else index
        samples.append((number, index, points_to, key))
    for number, index, points_to, key in samples:
        if points_to not in images:
            errors.report(path, number, f"its image is that of row {points_to}, which is not there")
            continue
        options = [cell_text(key.get(letter)) for letter in "abcde"]
        while options and not options[-1]:
            options.pop()
        yield Sample(
            id=str(index),
            question=cell_text(key["question"]),
            images=(images[points_to],),
            answers=(cell_text(key["answer"]),),
            group=str(index % CIRCULAR),
            category=cell_text(key.get("category")),
            options=tuple(options),
            hint=cell_text(key.get("hint")),
        )


def _mmbench_problem(row: dict[str, Any]) -> str:
    if not re.fullmatch(r"\d+(\.0)?", cell_text(row.get("index"))):
        return f"index {row.get('index')!r} is no number"
    if not cell_text(row.get("question")):
        return "the question is empty"
    answer = cell_text(row.get("answer"))
    if not answer:
        return "there is no answer (the test file carries none; take the dev file)"
    if len(answer) != 1 or not cell_text(row.get(answer.lower())):
        return f"answer {answer!r} is none of its options"
    return "" if row.get("image") else "there is no image"


def read_mmmu(path: Path, errors: RowErrors) -> Iterator[Sample]:
    """MMMU: the hub's parquet, one file per subject and split."""
    for number, row, _ in parquet_rows(path, *(f"image_{k}" for k in range(1, 8))):
        try:
            options = tuple(str(option) for option in ast.literal_eval(row.get("options") or "[]"))
        except (ValueError, SyntaxError):
            errors.report(path, number, f"options {row.get('options')!r} are no list")
            continue
        answers = _references(row.get("answer"))
        letters = [chr(ord("A") + place) for place in range(len(options))]
        choice = row.get("question_type") == "multiple-choice"
        shown = " ".join([cell_text(row.get("question")), *options])
        images = sorted({int(k) for k in re.findall(r"<image (\d+)>", shown)})
        absent = [k for k in images if f"image_{k}" not in row["images"]]
        if not cell_text(row.get("question")):
            errors.report(path, number, "the question is empty")
        elif choice and (not answers or answers[0] not in letters):
            errors.report(path, number, f"answer {row.get('answer')!r} is none of its options")
        elif absent or not images:
            errors.report(path, number, f"image {absent[0]} is not there" if absent else "it shows no image")
        else:
            subject = re.fullmatch(r"[^_]+_(.+)_\d+", str(row["id"]))
            yield Sample(
                id=str(row["id"]),
                question=cell_text(row["question"]),
                images=tuple(ParquetImage(f"{row['id']}:{k}", path, number, f"image_{k}") for k in images),
                answers=answers,
                group=str(row["id"]),
                category=subject[1] if subject else path.parent.name,
                options=options if choice else (),
            )


def read_textvqa(path: Path, errors: RowErrors) -> Iterator[Sample]:
    """TextVQA: the official JSON beside its image folder, or the hub's parquet.

    OCR tokens stay in the file: with them in the prompt the text pass could read the image.
    """
    parquet = path.suffix == ".parquet"
    rows = parquet_rows(path, "image") if parquet else json_rows(path)
    for number, row, image in rows:
        answers = tuple(str(answer) for answer in row.get("answers") or ())
        reference = image if parquet else _textvqa_file(path, str(row.get("image_id")))
        if not cell_text(row.get("question")):
            errors.report(path, number, "the question is empty")
        elif not answers:
            errors.report(path, number, "there are no answers (the test file carries none; take the validation file)")
        elif reference is None:
            errors.report(path, number, f"image {row.get('image_id')} is in no image folder beside the file")
        else:
            key = str(row.get("image_id") or number)
            yield Sample(
                id=str(row.get("question_id", number)),
                question=cell_text(row["question"]),
                images=(replace(reference, key=key),),
                answers=answers,
                group=key,
                category="",
            )


def _textvqa_file(path: Path, image_id: str) -> ImageRef | None:
    for folder in ("train_images", "test_images", "images"):
        file = path.parent / folder / f"{image_id}.jpg"
        if file.resolve().is_relative_to(path.parent.resolve()) and file.exists():
            return ImageRef(image_id, file)
    return None


def _references(answer: Any) -> tuple[str, ...]:
    """One answer, or several as a stringified list."""
    text = cell_text(answer)
    if text.startswith("["):
        try:
            return tuple(str(item) for item in ast.literal_eval(text))
        except (ValueError, SyntaxError):  # an answer that merely begins with a bracket
            return (text,)
    return (text,) if text else ()


BENCHMARKS = {
    "mmbench": Rows(
        "mmbench",
        "accuracy",
        "download MMBench_DEV_EN.tsv from the OpenCompass page of MMBench, or the hub's parquet of `lmms-lab/MMBench`.",
        read_mmbench,
    ),
    "mmmu": Rows(
        "mmmu",
        "accuracy",
        "download the hub's `MMMU/MMMU`, whose folders hold one validation-*.parquet per subject.",
        read_mmmu,
    ),
    "textvqa": Rows(
        "textvqa",
        "vqa_accuracy",
        "download TextVQA_0.5.1_val.json with its train_images folder beside it, or the hub's `lmms-lab/textvqa`.",
        read_textvqa,
    ),
}
