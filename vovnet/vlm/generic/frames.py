"""The text around a question and its images: what a checkpoint's chat template renders."""

import itertools
from pathlib import Path
from typing import Any

from PIL import Image

from vovnet.errors import VoVNetError
from vovnet.schema import PromptOrder
from vovnet.vlm.chat_template import PLAIN_TAIL, STAND_IN, Reading
from vovnet.vlm.generic.prompts import Frames

ORDERS: tuple[PromptOrder, ...] = ("image_first", "text_first", "sandwich")
MOST_IMAGES = 10  # of a sample; MMMU's questions have up to seven
TEXT, IMAGE = {"type": "text", "text": STAND_IN}, {"type": "image"}
AMONG = [TEXT, IMAGE, TEXT, IMAGE, TEXT]  # shows whether images stay where a message has them
PLACEHOLDERS = ("boi_token", "image_token")  # of a processor, for a bare prompt; Gemma 3 writes the first


def contents(order: PromptOrder) -> list[list[dict[str, str]]]:
    """A user's message with a question and one image, two and so on."""
    return [_content(order, count) for count in range(1, MOST_IMAGES + 1)]


def frames_of(reading: Reading, order: PromptOrder, folder: Path, processor: Any) -> Frames:
    """Frames of what was read of a checkpoint.

    Raises:
        VoVNetError: its chat template cannot place images in this order, or drops them.
    """
    if not reading.shown:
        return bare_frames(processor, order)
    text = (reading.head, reading.tail)
    count = 3 if order == "sandwich" else 2
    rendered = [_pieces(folder, result, count) for result in reading.shown[order]]
    if order != "image_first":
        rendered = [_after_text(folder, text, pieces) for pieces in rendered]
    if "".join(rendered[0]) == "".join(text):
        raise VoVNetError(f"the chat template of {folder} leaves images out; save the processor with the model's own.")
    begin = processor.tokenizer.bos_token
    special = begin is None or not text[0].startswith(begin)
    return Frames(text, dict(enumerate(rendered, 1)), special, *_among(reading, text))


def _among(reading: Reading, text: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """What stands for each image among text, and what is before the text of a message that begins with an image.

    Nothing where the template puts images elsewhere, or writes them otherwise among text than before it.
    """
    befores = [result.get("text", "").split(STAND_IN)[0] for result in reading.shown["image_first"]]
    pieces = reading.shown["among"][0].get("text", "").split(STAND_IN)
    marks = [*pieces[1:-1], *(after.removeprefix(before) for before, after in itertools.pairwise(befores[1:]))]
    if len(pieces) != 4 or (pieces[0], pieces[-1]) != text or not befores[0].endswith(marks[0]):
        return (), ""
    alike = all(before + mark == after for before, mark, after in zip(befores, marks[1:], befores[1:], strict=False))
    return (tuple(marks), befores[0]) if alike else ((), "")


def bare_frames(processor: Any, order: PromptOrder) -> Frames:
    """Frames of bare text, for a model that was not trained on chats.

    Raises:
        VoVNetError: the processor does not say what stands for an image.
    """
    mark = next(
        (found for name in PLACEHOLDERS if _stands_for_image(processor, found := getattr(processor, name, None))), None
    )
    if mark is None:
        raise VoVNetError(
            f"{type(processor).__name__} does not say which text stands for an image; copy the model's chat template."
        )
    shown: dict[int, tuple[str, ...]] = {}
    for count in range(1, MOST_IMAGES + 1):
        marks = mark * count
        shown[count] = {
            "image_first": (marks, PLAIN_TAIL),
            "text_first": ("", marks + PLAIN_TAIL),
            "sandwich": ("", marks, PLAIN_TAIL),
        }[order]
    return Frames(("", PLAIN_TAIL), shown, True, (mark,) * MOST_IMAGES, mark)


def _content(order: PromptOrder, images: int) -> list[dict[str, str]]:
    shown = [IMAGE] * images
    return {"image_first": [*shown, TEXT], "text_first": [TEXT, *shown], "sandwich": [TEXT, *shown, TEXT]}[order]


def _pieces(folder: Path, result: dict[str, str], expected: int) -> tuple[str, ...]:
    """What is rendered around the stand-ins.

    Raises:
        VoVNetError: an error, or other text than was handed over.
    """
    if "error" in result:
        raise VoVNetError(
            f"the chat template of {folder} cannot be rendered ({result['error']}); save the processor with the "
            "model's own."
        )
    pieces = tuple(result["text"].split(STAND_IN))
    if len(pieces) != expected:
        raise VoVNetError(
            f"the chat template of {folder} leaves out, changes or repeats the user's text; use one that shows it once "
            "as it is."
        )
    return pieces


def _after_text(folder: Path, text: tuple[str, ...], pieces: tuple[str, ...]) -> tuple[str, ...]:
    """Pieces with the images after the question, where the template puts them before it whatever the order.

    Raises:
        VoVNetError: it says something else before the question where there are images.
    """
    head, tail = text
    if pieces[0] == head:
        return pieces
    if not pieces[0].startswith(head) or pieces[-1] != tail:
        raise VoVNetError(
            f"the chat template of {folder} has other text around questions with images; set "
            "backbone.prompt_order=image_first."
        )
    marks = pieces[0].removeprefix(head)
    return (head, marks + tail) if len(pieces) == 2 else (head, marks, tail)


def _stands_for_image(processor: Any, mark: object) -> bool:
    """Whether a processor puts an image in the place of a text."""
    if not isinstance(mark, str):
        return False
    try:
        made = processor(text=[mark], images=[[Image.new("RGB", (32, 32))]], return_tensors="pt")
    except (ValueError, RuntimeError, LookupError):  # it says how many images and marks it found
        return False
    return "pixel_values" in made
