"""MMBench: multiple choice, from the official TSV or the hub's parquet.

Schema: OpenCompass' MMBench_DEV_EN.tsv as VLMEvalKit reads it (``dataset/image_base.py``): an image of at
most 64 characters names another row, missing options are "nan", and option-shifted copies of row i stand
at i + k * 1,000,000.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vovnet.data.rows import RowErrors
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import Row, cell_text, text_problem

CIRCULAR = 10**6
LETTERS = "abcde"


def read_mmbench(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """Samples in file order; a row that points to another row's image may stand before or after it."""
    kept: list[tuple[Row, int]] = []
    images: dict[int, ImageRef] = {}
    for row in rows:
        index = _number(row.fields.get("index"))
        if index is not None and "image" in row.images and not row.problem:
            images.setdefault(index, row.images["image"])  # good for others even if this question is not
        problem = row.problem or _problem(row, index)
        if problem:
            errors.report(path, row.number, problem)
        elif index is not None and errors.is_new(path, row.number, str(index)):
            kept.append((row, index))
    shown: list[tuple[Row, int, int]] = []  # row, its index, and that of the row whose image it shows
    for row, index in kept:
        source = index if "image" in row.images else _number(row.fields["image"])
        if source is None or source not in images:
            errors.report(path, row.number, f"its image is that of row {source}, which is not there or has none")
        else:
            shown.append((row, index, source))
    groups = _groups((index % CIRCULAR, source % CIRCULAR) for _, index, source in shown)
    rotations = Counter(index % CIRCULAR for _, index, _ in shown)
    for row, index, source in shown:
        number = index % CIRCULAR
        yield replace(_sample(row, index, images[source]), group=str(groups[number]), rotations=rotations[number])


def _groups(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """For each question the first that shows the same image, itself or by way of others.

    Args:
        pairs: a question, and the one whose row holds its image.
    """
    first: dict[int, int] = {}

    def root(number: int) -> int:
        while first.setdefault(number, number) != number:
            number = first[number]
        return number

    for pair in pairs:
        low, high = sorted(map(root, pair))
        first[high] = low
    return {number: root(number) for number in first}


def _number(cell: Any) -> int | None:
    """A row's index; pandas may have made it 241.0."""
    text = cell_text(cell)
    return int(text.removesuffix(".0")) if re.fullmatch(r"[0-9]{1,15}(\.0)?", text) else None


def _sample(row: Row, index: int, image: ImageRef) -> Sample:
    options = [cell_text(row.fields.get(letter)) for letter in LETTERS]
    while options and not options[-1]:
        options.pop()
    return Sample(
        id=str(index),
        question=cell_text(row.fields["question"]),
        images=(image,),
        answers=(cell_text(row.fields["answer"]),),
        group="",  # known when all rows are
        circle=str(index % CIRCULAR),
        category=cell_text(row.fields.get("category")),
        options=tuple(options),
        hint=cell_text(row.fields.get("hint")),
        supercategory=cell_text(row.fields.get("l2-category")),
        is_copy=index >= CIRCULAR,
    )


def _problem(row: Row, index: int | None) -> str:
    fields = row.fields
    offered = [letter.upper() for letter in LETTERS if cell_text(fields.get(letter))]
    answer = cell_text(fields.get("answer"))
    if index is None:
        return f"index {fields.get('index')!r} is no number"
    if problem := text_problem(row, ("question",), ("hint", "category", "l2-category", *LETTERS)):
        return problem
    if not answer:
        return "there is no answer (the test file carries none; take the dev file)"
    if answer not in offered:
        return f"answer {answer!r} is none of its options"
    if "image" in row.images or _number(fields.get("image")) is not None:
        return ""
    return f"image {fields['image']!r} is no row's index" if cell_text(fields.get("image")) else "there is no image"
