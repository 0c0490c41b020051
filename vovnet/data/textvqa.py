"""TextVQA: open answers by ten annotators; the official JSON beside its images, or the hub's parquet.

OCR tokens stay in the file: with them in the prompt the text pass could read the image.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vovnet.data.images import ImagesBeside
from vovnet.data.rows import RowErrors, row_name
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import NO_TEXT, Row, cell_text, text_problem

IMAGE_FOLDERS = ("train_images", "test_images", "images")


def read_textvqa(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """Samples in file order; questions about one image share its reference."""
    beside = ImagesBeside(path, IMAGE_FOLDERS)
    images: dict[str, ImageRef | None] = {}
    for row in rows:
        key = cell_text(row.fields.get("image_id")) or str(row.number)
        if images.get(key) is None:
            images[key] = row.images.get("image") or beside.find(f"{key}.jpg")
        image, name = images[key], cell_text(row.fields.get("question_id")) or row_name(path, row.number)
        answers = _answers(row.fields.get("answers"))
        problem = row.problem or text_problem(row, ("question",), ("question_id", "image_id"))
        if not problem and not answers:
            problem = "there are no answers (the test file carries none; take the validation file)"
        if not problem and image is None:
            problem = f"image {row.fields.get('image_id')} is in no image folder beside the file"
        if problem or image is None:
            errors.report(path, row.number, problem)
        elif errors.is_new(path, row.number, name):
            classes = row.fields.get("image_classes")
            yield Sample(
                id=name,
                question=cell_text(row.fields["question"]),
                images=(image,),
                answers=answers,
                group=key,
                category=str(classes[0]) if isinstance(classes, list) and classes else "",
            )


def _answers(given: Any) -> tuple[str, ...]:
    """All annotators' answers, the most common first: it is the one whose likelihood is taken."""
    if not isinstance(given, list) or any(answer is None or isinstance(answer, NO_TEXT) for answer in given):
        return ()
    if not any(str(answer).strip() for answer in given):
        return ()
    return most_common_first([str(answer) for answer in given])


def most_common_first(answers: Sequence[str]) -> tuple[str, ...]:
    """References in the order of how often they are given: the first is the one whose likelihood is taken."""
    counted = Counter(answers)
    return tuple(sorted(counted.elements(), key=lambda answer: (-counted[answer], answer)))
