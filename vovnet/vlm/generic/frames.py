"""The text around a question and its images: what a checkpoint's chat template renders."""

from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.schema import PromptOrder
from vovnet.vlm.chat_template import PLAIN_TAIL, STAND_IN, find_template
from vovnet.vlm.chat_template import _results as render_contents
from vovnet.vlm.generic.prompts import Frames

MOST_IMAGES = 10  # of a sample; MMMU's questions have up to seven
TEXT, IMAGE = {"type": "text", "text": STAND_IN}, {"type": "image"}
PLACEHOLDERS = ("boi_token", "image_token")  # of a processor, for a bare prompt; Gemma 3 writes the first


def chat_frames(folder: Path, processor: Any, order: PromptOrder) -> Frames:
    """Frames of a folder's chat template.

    Raises:
        VoVNetError: there is none, it cannot be rendered, or it cannot place images after the text.
    """
    _, template = find_template(folder, processor.tokenizer)
    counts = range(1, MOST_IMAGES + 1)
    contents = [[TEXT], *(_content(order, count) for count in counts)]
    results = render_contents(folder, template, processor.tokenizer.special_tokens_map, contents)
    rendered = [
        _pieces(folder, result, 2 if number == 0 or order != "sandwich" else 3) for number, result in enumerate(results)
    ]
    text, shown = rendered[0], dict(zip(counts, rendered[1:], strict=True))
    if order != "image_first":
        shown = {count: _after_text(folder, text, pieces) for count, pieces in shown.items()}
    begin = processor.tokenizer.bos_token
    return Frames(text, shown, special=begin is None or not text[0].startswith(begin))


def bare_frames(processor: Any, order: PromptOrder) -> Frames:
    """Frames of bare text, for a model that was not trained on chats.

    Raises:
        VoVNetError: the processor does not say what stands for an image.
    """
    mark = next((found for name in PLACEHOLDERS if isinstance(found := getattr(processor, name, None), str)), None)
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
    return Frames(("", PLAIN_TAIL), shown, special=True)


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
