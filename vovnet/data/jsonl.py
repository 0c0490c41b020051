"""A plain format for one's own questions: one JSON object a line.

    {"image": "a.jpg", "question": "What is it?", "answers": ["a cat"]}
    {"image": ["a.jpg", "b.jpg"], "question": "Which?", "options": ["left", "right"], "answers": ["B"], "id": "7"}

``image``: a path, or several, relative to the file and inside its folder. ``answers``: accepted answers; with
``options`` the letter of the right one. ``answer`` (one text) may stand instead. Optional: ``id``, ``group``
(samples of one group are resampled together; default: the image), ``category``, ``hint``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.data.rows import RowErrors, image_beside
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import Row, cell_text


def read_jsonl(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """Samples in file order."""
    seen: set[str] = set()
    for row in rows:
        names = _texts(row.fields.get("image"))
        found = {name: image_beside(path, ("",), name) for name in names}
        problem = row.problem or _problem(row, found)
        key = cell_text(row.fields.get("id")) or str(row.number)
        if not problem and key in seen:
            problem = f"id {key} stands twice"
        if problem:
            errors.report(path, row.number, problem)
            continue
        seen.add(key)
        images: list[ImageRef] = [image for image in found.values() if image is not None]
        yield Sample(
            id=key,
            question=cell_text(row.fields["question"]),
            images=tuple(images),
            answers=_answers(row),
            group=cell_text(row.fields.get("group")) or names[0],
            category=cell_text(row.fields.get("category")),
            options=tuple(_texts(row.fields.get("options"))),
            hint=cell_text(row.fields.get("hint")),
        )


def _problem(row: Row, images: dict[str, ImageRef | None]) -> str:
    options, answers = _texts(row.fields.get("options")), _answers(row)
    letters = {chr(ord("A") + place) for place in range(len(options))}
    missing = [name for name, image in images.items() if image is None]
    if not cell_text(row.fields.get("question")):
        return "the question is empty"
    if not images:
        return "there is no image"
    if missing:
        return f"image {missing[0]} is not in the folder of the file"
    if not answers:
        return "there is no answer"
    if options and not letters.issuperset(answers):
        return f"answer {answers[0]!r} is none of its options"
    return ""


def _answers(row: Row) -> tuple[str, ...]:
    return tuple(_texts(row.fields.get("answers")) or _texts(row.fields.get("answer")))


def _texts(value: Any) -> list[str]:
    """A text or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [text for text in (cell_text(v) for v in values) if text]
