"""LLaVA-Instruct: conversations about COCO images, for training (Liu et al. 2023).

Schema: ``llava_instruct_150k.json``, a list of {id, image, conversations: [{from: human | gpt, value}]}.
Every turn of a human with the answer that follows is a question of its own; earlier turns are not shown. A human turn
without an answer is passed over.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.data.images import ImagesBeside
from vovnet.data.rows import RowErrors
from vovnet.data.sample import Sample
from vovnet.data.tables import Row, cell_text, text_problem

IMAGE_FOLDERS = ("", "images", "train2017", "coco/train2017")


def read_llava(path: Path, rows: Iterator[Row], errors: RowErrors) -> Iterator[Sample]:
    """One sample per turn, in file order."""
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
        elif problem := _problem(turns):
            errors.report(path, row.number, problem)
        else:
            # Upstream uses an id for several conversations about an image.
            key = f"{cell_text(row.fields.get('id')) or path.stem}-{row.number}"
            if errors.is_new(path, row.number, key):
                for number, (question, answer) in enumerate(_turns(turns)):
                    yield Sample(f"{key}-{number}", question, (image,), (answer,), name, "")


def _problem(turns: Any) -> str:
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
