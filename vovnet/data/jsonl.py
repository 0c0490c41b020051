"""A plain format for one's own questions: one JSON object a line.

    {"image": "a.jpg", "question": "What is it?", "answers": ["a cat"]}
    {"image": ["a.jpg", "b.jpg"], "question": "Which?", "options": ["left", "right"], "answers": ["B"], "id": "7"}

``image``: a path, or several, relative to the file and inside its folder. ``answers``: accepted answers; with
``options`` the letter of the right one. ``answer`` (one text) may stand instead. Optional: ``id``, ``group``
(samples of one group are resampled together; default: the image), ``category``, ``hint``.
"""

import logging
import string
from collections.abc import Iterator
from pathlib import Path

from vovnet.data.images import ImagesBeside
from vovnet.data.rows import RowErrors, row_name
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import Row, cell_text, cell_texts, option_problem, text_problem

log = logging.getLogger(__name__)
FIELDS = frozenset("image question options answers answer id group category hint".split())


def read_jsonl(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """Samples in file order."""
    images, unknown = ImagesBeside(path, ("",)), set[str]()
    for row in rows:
        fields = row.fields
        unknown.update(fields.keys() - FIELDS)
        names, options = cell_texts(fields.get("image")), cell_texts(fields.get("options"))
        answers = cell_texts(fields.get("answer") if fields.get("answers") is None else fields["answers"])
        found = {name: images.find(name) for name in names or ()}
        problem = row.problem or _problem(row, found, options, answers)
        key = cell_text(fields.get("id")) or row_name(path, row.number)
        if problem or names is None or options is None or answers is None:
            errors.report(path, row.number, problem)
            continue
        if not errors.is_new(path, row.number, key):
            continue
        yield Sample(
            id=key,
            question=cell_text(fields["question"]),
            images=tuple(image for name in names if (image := found[name]) is not None),
            answers=tuple(answer for answer in answers if answer),
            group=cell_text(fields.get("group")) or names[0],
            category=cell_text(fields.get("category")),
            options=tuple(options),
            hint=cell_text(fields.get("hint")),
        )
    if unknown:
        log.warning(
            "%s: these fields are not read: %s (known: %s)", path, *map(", ".join, map(sorted, (unknown, FIELDS)))
        )


def _problem(row: Row, images: dict[str, ImageRef | None], options: list[str] | None, answers: list[str] | None) -> str:
    if problem := text_problem(row, ("question",), ("id", "group", "category", "hint")):
        return problem
    if options is None or answers is None:
        return f"{'options' if options is None else 'answers'} are neither a text nor a list of texts"
    if not images:
        return "there is no image"
    for name, image in images.items():
        if image is None:
            return f"image {name} is not in the folder of the file"
    if problem := option_problem(options):
        return problem
    if not any(answers):
        return "there is no answer"
    if options and not set(string.ascii_uppercase[: len(options)]).issuperset(filter(None, answers)):
        return f"answer {next(filter(None, answers))!r} is none of its options"
    return ""
