"""A picture of the mini sets' families: each scene at FULL and as a thumbnail, with its questions.

python -m vovnet.data.mini.examples [FILE]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vovnet.data.mini import scenes
from vovnet.data.mini.canvas import typeface
from vovnet.data.mini.scenes import Scene
from vovnet.files import atomic_write

ROWS = {
    "large shape, small dot": scenes.objects,
    "word, number, colour of a sign": scenes.sign,
    "a digit of either size": scenes.digit,
    "an object of either size": scenes.lone_object,
    "few large balls": scenes.balls,
    "many small dots": scenes.dots,
    "bar chart": scenes.chart,
}
COLUMNS, SIDE, THUMB = 4, 120, 16  # scenes a row, pixels shown, pixels of COARSE
CELL = 2 * SIDE + 24
CAPTION = 56


def contact_sheet() -> Image.Image:
    """One row per family."""
    sheet = Image.new("RGB", (COLUMNS * CELL, len(ROWS) * (SIDE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (title, make) in enumerate(ROWS.items()):
        top = row * (SIDE + CAPTION)
        draw.text((4, top + 2), title, font=typeface("DejaVuSans-Bold", 13), fill="black")
        for column in range(COLUMNS):
            scene = make(np.random.default_rng([row, column]))
            _cell(sheet, draw, scene, column * CELL + 4, top + 20)
    return sheet


def _cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, scene: Scene, left: int, top: int) -> None:
    """A scene, its thumbnail, and up to two of its questions."""
    image = scene.image
    zoom = SIDE / max(image.size)
    shown = (round(image.width * zoom), round(image.height * zoom))
    thumb = (
        max(1, round(THUMB * image.width / max(image.size))),
        max(1, round(THUMB * image.height / max(image.size))),
    )
    sheet.paste(image.resize(shown, Image.Resampling.NEAREST), (left, top))
    small = image.resize(thumb, Image.Resampling.BICUBIC)
    sheet.paste(small.resize(shown, Image.Resampling.NEAREST), (left + SIDE + 6, top))
    for line, question in enumerate(scene.questions[-2:]):
        text = f"{question.text} {question.answer} [{question.need}]"
        draw.text((left, top + SIDE + 3 + 15 * line), text, font=typeface("DejaVuSans", 10), fill=(40, 40, 40))


def main() -> None:
    """Write the picture."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("examples.png")
    atomic_write(path, lambda temporary: contact_sheet().save(temporary, "PNG", optimize=True))
    print(path)


if __name__ == "__main__":
    main()
