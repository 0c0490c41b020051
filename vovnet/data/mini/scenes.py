"""Scenes of the mini sets: an image and the questions that can be asked about it.

What a question needs is a property of its scene: a large shape survives a 16-pixel thumbnail, a word
does not, and some scenes hide the same object at either size behind the same question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from vovnet.data.mini.canvas import COLORS, SHAPES, Canvas
from vovnet.data.mini.words import SIGN_WORDS

Need = Literal["text", "coarse", "full", "either"]  # what a question cannot be answered without; either: unknowable


@dataclass(frozen=True)
class Question:
    """A question about a scene.

    Attributes:
        text: asks; equal texts of family ``either`` hide objects of any size.
        answer: the reference.
        others: wrong answers to draw options from.
        family: kind of question, a category of the written set.
        need: see ``Need``.
        hint: a sentence of context, where the set has such a field.
    """

    text: str
    answer: str
    others: tuple[str, ...]
    family: str
    need: Need
    hint: str = ""


@dataclass(frozen=True)
class Scene:
    """A drawn image with its questions."""

    canvas: Canvas
    questions: tuple[Question, ...]

    @property
    def image(self) -> Image.Image:
        """The drawing."""
        return self.canvas.image


def objects(rng: np.random.Generator) -> Scene:
    """A large shape, and a dot of another colour elsewhere."""
    canvas = Canvas(rng)
    shape, (color, dot) = _pick(rng, SHAPES), _distinct(rng, tuple(COLORS), 2)
    size = rng.uniform(24, 30)
    side = _pick(rng, ("left", "right")) if canvas.width >= canvas.height else _pick(rng, ("top", "bottom"))
    x, y = canvas.width / 2 + rng.uniform(-3, 3), canvas.height / 2 + rng.uniform(-3, 3)
    reach = 0.6 * size + 1
    if side in ("left", "right"):
        x = reach if side == "left" else canvas.width - reach
    else:
        y = reach if side == "top" else canvas.height - reach
    canvas.shape(shape, x, y, size, color)
    asked = [
        _question("What color is the large shape?", color, tuple(COLORS), "color", "coarse"),
        _question("What shape is the large object?", shape, SHAPES, "shape", "coarse"),
        _question("Where is the large object?", side, ("left", "right", "top", "bottom"), "position", "coarse"),
    ]
    radius = rng.uniform(1.5, 1.9)
    spot = canvas.free_spot(radius, (x - reach, y - reach, x + reach, y + reach), margin=2)
    if spot:
        canvas.shape("circle", *spot, 2 * radius, dot)
        asked.append(_question("What color is the small dot?", dot, tuple(COLORS), "small object", "full"))
    return Scene(canvas, tuple(asked))


def sign(rng: np.random.Generator) -> Scene:
    """A board with a word, and sometimes a number plate below."""
    canvas = Canvas(rng, size=((64, 64), (64, 48), (64, 56))[rng.integers(3)])
    board, word = _pick(rng, tuple(COLORS)), _pick(rng, SIGN_WORDS)
    plate = canvas.height > 50 and rng.random() < 0.5
    height = rng.uniform(12, 16)
    y = height / 2 + rng.uniform(4, 8) if plate else rng.uniform(height / 2 + 4, canvas.height - height / 2 - 4)
    x = canvas.width / 2 + rng.uniform(-2, 2)
    canvas.board((3, y - height / 2 - 3, canvas.width - 3, y + height / 2 + 3), board)
    ink = (15, 15, 15) if board in ("yellow", "orange") else (250, 250, 250)
    canvas.text(word.upper(), x, y, height, ink, canvas.width - 10)
    asked = [_question("What word is on the sign?", word, SIGN_WORDS, "word", "full")]
    if rng.random() < 0.35:
        asked.append(_question("What color is the sign?", board, tuple(COLORS), "color", "coarse"))
    if plate:
        number = str(rng.integers(10, 100))
        low = y + height / 2 + 3
        canvas.text(number, canvas.width * rng.uniform(0.3, 0.7), (low + canvas.height) / 2, 13, canvas.ink())
        asked.append(_question("What number is below the sign?", number, _numbers(rng, number), "number", "full"))
    return Scene(canvas, tuple(asked))


def digit(rng: np.random.Generator) -> Scene:
    """One digit, huge or tiny; the question does not tell."""
    canvas = Canvas(rng)
    value, large = str(rng.integers(1, 10)), rng.random() < 0.5
    height = rng.uniform(34, 42) if large else rng.uniform(9, 11)
    _somewhere(canvas, height / 2, lambda x, y: canvas.text(value, x, y, height, canvas.ink()))
    others = tuple("123456789")
    return Scene(canvas, (_question("Which digit is shown?", value, others, "digit", "either"),))


def lone_object(rng: np.random.Generator) -> Scene:
    """One coloured shape, large or tiny; the question does not tell."""
    canvas = Canvas(rng)
    color, large = _pick(rng, tuple(COLORS)), rng.random() < 0.5
    size = rng.uniform(24, 34) if large else rng.uniform(3.2, 4.2)
    _somewhere(canvas, 0.65 * size, lambda x, y: canvas.shape(_pick(rng, SHAPES), x, y, size, color))
    return Scene(canvas, (_question("What color is the object?", color, tuple(COLORS), "any size", "either"),))


def balls(rng: np.random.Generator) -> Scene:
    """One to four balls that a thumbnail can count."""
    canvas = Canvas(rng, size=(64, 64))
    count, color = int(rng.integers(1, 5)), _pick(rng, tuple(COLORS))
    for corner in rng.permutation(4)[:count]:
        x, y = 16 + 32 * (corner % 2), 16 + 32 * (corner // 2)
        canvas.shape("circle", x + rng.uniform(-4, 4), y + rng.uniform(-4, 4), rng.uniform(17, 21), color)
    numbers = tuple("1234")
    return Scene(canvas, (_question("How many balls are there?", str(count), numbers, "few", "coarse"),))


def dots(rng: np.random.Generator) -> Scene:
    """Two to six small dots."""
    canvas = Canvas(rng)
    count, color = int(rng.integers(2, 7)), _pick(rng, tuple(COLORS))
    cells = [(8 + 16 * i, 8 + 16 * j) for i in range(canvas.width // 16) for j in range(canvas.height // 16)]
    for cell in rng.permutation(len(cells))[:count]:
        x, y = cells[cell]
        canvas.shape("circle", x + rng.uniform(-4, 4), y + rng.uniform(-4, 4), rng.uniform(3, 3.8), color)
    return Scene(canvas, (_question("How many dots are there?", str(count), tuple("23456"), "many", "full"),))


def chart(rng: np.random.Generator) -> Scene:
    """A small bar chart of three or four bars."""
    canvas = Canvas(rng, size=(64, 48), dark=False)
    count = int(rng.integers(3, 5))
    names, step = _distinct(rng, tuple(COLORS), count), 5.0
    heights = rng.permutation(np.array([6.0, 10.0, 14.0, 18.0]))[:count] + rng.uniform(-1, 1, count)
    left, bottom = rng.uniform(6, canvas.width - step * count - 6), canvas.height - rng.uniform(6, 14)
    canvas.line(left - 2, bottom - 21, left - 2, bottom, (30, 30, 30))
    canvas.line(left - 2, bottom, left + step * count, bottom, (30, 30, 30))
    for place, (name, height) in enumerate(zip(names, heights, strict=True)):
        x = left + step * place
        canvas.bar((x, bottom - height, x + 3, bottom - 1), name)
    tall, short = names[int(np.argmax(heights))], names[int(np.argmin(heights))]
    return Scene(
        canvas,
        (
            _question("Which color is the highest bar?", tall, names, "chart", "full"),
            _question("Which color is the lowest bar?", short, names, "chart", "full"),
        ),
    )


def _somewhere(canvas: Canvas, radius: float, draw: Callable[[float, float], object]) -> None:
    """Draw about a random place that leaves this radius inside the canvas."""
    ends = [(min(radius + 1, side / 2), max(side - radius - 1, side / 2)) for side in (canvas.width, canvas.height)]
    draw(*(float(canvas.rng.uniform(low, high)) for low, high in ends))


def _question(text: str, answer: str, all_answers: Sequence[str], family: str, need: Need) -> Question:
    return Question(text, answer, tuple(a for a in all_answers if a != answer), family, need)


def _numbers(rng: np.random.Generator, number: str) -> tuple[str, ...]:
    """Wrong numbers: a digit changed, or both exchanged."""
    tens, ones = number[0], number[1]
    wrong = {f"{tens}{(int(ones) + int(rng.integers(1, 10))) % 10}", f"{(int(tens) % 9) + 1}{ones}"}
    wrong |= {f"{ones}{tens}" if ones != "0" else f"{tens}5", str(rng.integers(10, 100))}
    return tuple(sorted(wrong - {number}))


def _pick(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


def _distinct(rng: np.random.Generator, values: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(values[int(i)] for i in rng.permutation(len(values))[:count])
