"""MMBench: multiple choice, from the official TSV or the hub's parquet.

Schema: OpenCompass' MMBench_DEV_EN.tsv as VLMEvalKit reads it (``dataset/image_base.py``): an image of at
most 64 characters names another row, missing options are "nan", and option-shifted copies of row i stand
at i + k * 1,000,000.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from vovnet.data.rows import RowErrors
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import Row, cell_text

CIRCULAR = 10**6
LETTERS = "abcde"


def read_mmbench(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """Samples in file order; a row that points to another row's image may stand before or after it."""
    kept: list[tuple[Row, int]] = []
    images: dict[int, ImageRef] = {}
    for row in rows:
        problem = row.problem or _problem(row)
        if problem:
            errors.report(path, row.number, problem)
            continue
        index = int(float(row.fields["index"]))
        if "image" in row.images:
            images[index] = row.images["image"]
        kept.append((row, index))
    for row, index in kept:
        source = index if "image" in row.images else int(float(row.fields["image"]))
        if source not in images:
            errors.report(path, row.number, f"its image is that of row {source}, which is not there")
            continue
        yield _sample(row, index, images[source])


def _sample(row: Row, index: int, image: ImageRef) -> Sample:
    options = [cell_text(row.fields.get(letter)) for letter in LETTERS]
    while options and not options[-1]:
        options.pop()
    return Sample(
        id=str(index),
        question=cell_text(row.fields["question"]),
        images=(image,),
        answers=(cell_text(row.fields["answer"]),),
        group=str(index % CIRCULAR),
        category=cell_text(row.fields.get("category")),
        options=tuple(options),
        hint=cell_text(row.fields.get("hint")),
        supercategory=cell_text(row.fields.get("l2-category")),
        is_copy=index >= CIRCULAR,
    )


def _problem(row: Row) -> str:
    fields = row.fields
    if not re.fullmatch(r"\d+(\.0)?", cell_text(fields.get("index"))):
        return f"index {fields.get('index')!r} is no number"
    if not cell_text(fields.get("question")):
        return "the question is empty"
    answer = cell_text(fields.get("answer"))
    if not answer:
        return "there is no answer (the test file carries none; take the dev file)"
    if len(answer) != 1 or not cell_text(fields.get(answer.lower())):
        return f"answer {answer!r} is none of its options"
    if "image" in row.images or re.fullmatch(r"\d+(\.0)?", cell_text(fields.get("image"))):
        return ""
    return f"image {fields['image']!r} is no row's index" if cell_text(fields.get("image")) else "there is no image"
