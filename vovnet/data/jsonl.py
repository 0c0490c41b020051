"""Questions as JSON objects: a plain format for one's own, one object a line, and LLaVA's conversations.

    {"image": "a.jpg", "question": "What is it?", "answers": ["a cat"]}
    {"image": ["a.jpg", "b.jpg"], "question": "Which?", "options": ["left", "right"], "answers": ["B"], "id": "7"}

``image``: a path, or several, relative to the file and inside its folder. ``answers``: accepted answers; with
``options`` the letter of the right one. ``answer`` (one text) may stand instead. Optional: ``id``, ``group``
(samples of one group are resampled together; default: the image), ``category``, ``hint``.
"""

import itertools
import logging
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.data.images import ImagesBeside
from vovnet.data.rows import RowErrors, row_name
from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tables import Row, cell_text, cell_texts, option_problem, text_problem

log = logging.getLogger(__name__)
FIELDS = frozenset("image question options answers answer id group category hint".split())
IMAGE_FOLDERS = ("", "images", "train2017", "coco/train2017")


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


def read_llava(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """LLaVA-Instruct, conversations about COCO images (Liu et al. 2023): one sample per turn, in file order.

    Schema: ``llava_instruct_150k.json``, a list of {id, image, conversations: [{from: human | gpt, value}]}.
    Every turn of a human with the answer that follows is a question of its own; earlier turns are not shown. A human
    turn without an answer is passed over.
    """
    images = ImagesBeside(path, IMAGE_FOLDERS)
    for row in rows:
        name = cell_text(row.fields.get("image"))
        turns: Any = row.fields.get("conversations")
        image = images.find(name) if name else None
        if row.problem:
            errors.report(path, row.number, row.problem)
        elif problem := text_problem(row, (), ("id", "image")):
            errors.report(path, row.number, problem)
        elif not name:
            continue  # text-only conversations of the larger mixes ask about nothing that could be seen
        elif image is None:
            errors.report(path, row.number, f"image {name} is in no image folder beside the file")
        elif problem := _turn_problem(turns):
            errors.report(path, row.number, problem)
        else:
            # Upstream uses an id for several conversations about an image.
            key = f"{cell_text(row.fields.get('id')) or path.stem}-{row.number}"
            if errors.is_new(path, row.number, key):
                for number, (question, answer) in enumerate(_turns(turns)):
                    yield Sample(f"{key}-{number}", question, (image,), (answer,), name, "")


def _turn_problem(turns: Any) -> str:
    """What is wrong with a conversation, if anything; a turn left out would give a question another one's answer."""
    if not isinstance(turns, list) or next(_turns(turns), None) is None:
        return "it has no human turn followed by an answer"
    odd = next((number for number, turn in enumerate(turns) if not isinstance(turn, dict)), None)
    return "" if odd is None else f"turn {odd} of its conversation is no object"


def _turns(turns: list[Any]) -> Iterator[tuple[str, str]]:
    """(question, answer) pairs without the image's place-holder."""
    for asked, given in itertools.pairwise(turn for turn in turns if isinstance(turn, dict)):
        question = cell_text(asked.get("value")).replace("<image>", "").strip()
        answer = cell_text(given.get("value"))
        if asked.get("from") == "human" and given.get("from") == "gpt" and question and answer:
            yield question, answer
