"""Drawing for the mini sets: backgrounds, clutter, shapes and real typography on small canvases.

All coordinates are in units of a 64-unit grid; ``scale`` says how many pixels a unit has, so that some
images are larger than the tiny backbone's FULL budget and have to be shrunk, as photographs are.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rgb = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom

COLORS: dict[str, Rgb] = {
    "red": (205, 35, 40),
    "green": (35, 150, 60),
    "blue": (35, 80, 205),
    "yellow": (240, 215, 40),
    "purple": (140, 50, 165),
    "orange": (240, 130, 25),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
# Typefaces that travel with matplotlib, so that every machine draws with the same ones.
TYPEFACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono-Bold",
    "STIXGeneralBol", "cmss10",
)  # fmt: skip
SIZES = ((64, 64), (64, 48), (48, 64), (64, 56))


@dataclass(frozen=True)
class Mark:
    """Where something was drawn, in units; ``name`` is a shape, a character or empty for a plain area."""

    box: Box
    name: str
    color: str


class Canvas:
    """A cluttered background to draw on; remembers what was drawn where."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int] | None = None, dark: bool | None = None) -> None:
        self.rng = rng
        self.width, self.height = size or SIZES[rng.integers(len(SIZES))]
        self.scale = 2 if rng.random() < 0.2 else 1  # pixels per unit
        self.dark = bool(rng.random() < 0.3) if dark is None else dark
        self.marks: list[Mark] = []
        self.image = Image.fromarray(self._background())
        self.draw = ImageDraw.Draw(self.image)
        self._clutter()

    def _background(self) -> np.ndarray:
        """A muted colour with a gradient, a wave or blotches, and sensor noise; uint8 [H, W, 3]."""
        rng, (height, width) = self.rng, (self.height * self.scale, self.width * self.scale)
        base = rng.uniform(30, 75, 3) if self.dark else rng.uniform(165, 235, 3)
        y, x = np.mgrid[0:height, 0:width] / (64 * self.scale)
        angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(5, 28)
        along = x * math.cos(angle) + y * math.sin(angle)
        kind = rng.integers(3)
        if kind == 0:
            field = along - 0.5
        elif kind == 1:
            field = 0.5 * np.sin(2 * math.pi * along * rng.uniform(1, 5))
        else:
            centre = rng.uniform(0, 1, 2)
            field = np.exp(-8 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2)) - 0.3
        tint = rng.uniform(0.5, 1.0, 3)
        noise = rng.normal(0, rng.uniform(1, 7), (height, width, 1))
        pixels: np.ndarray = np.clip(base + strength * field[..., None] * tint + noise, 0, 255).astype(np.uint8)
        return pixels

    def _clutter(self) -> None:
        """Thin lines and outlines, near the background in brightness."""
        for _ in range(self.rng.integers(2, 6)):
            shade = self._muted()
            x, y = self.rng.uniform(0, self.width), self.rng.uniform(0, self.height)
            dx, dy = self.rng.uniform(-30, 30, 2)
            if self.rng.random() < 0.6:
                self.draw.line(self._px(x, y, x + dx, y + dy), fill=shade, width=self.scale)
            else:
                self.draw.ellipse(self._px(*sorted_box(x, y, x + dx, y + dy)), outline=shade, width=self.scale)

    def _muted(self) -> Rgb:
        grey = self.rng.uniform(60, 120) if self.dark else self.rng.uniform(125, 190)
        r, g, b = np.clip(grey + self.rng.normal(0, 8, 3), 0, 255).astype(int).tolist()
        return r, g, b

    def shape(self, name: str, x: float, y: float, size: float, color: str) -> None:
        """A filled shape about a centre; ``size`` is its side or diameter."""
        fill, half = self.jitter(COLORS[color]), size / 2
        self.marks.append(Mark((x - half, y - half, x + half, y + half), name, color))
        if name == "circle":
            self.draw.ellipse(self._px(x - half, y - half, x + half, y + half), fill=fill)
            return
        if name == "square":
            turn, points = self.rng.uniform(-0.15, 0.15), 4
            corners = [(x + half * 1.3 * c, y + half * 1.3 * s) for c, s in _circle(points, math.pi / 4 + turn)]
        elif name == "triangle":
            corners = [(x + half * 1.2 * c, y + half * 1.2 * s + half * 0.2) for c, s in _circle(3, -math.pi / 2)]
        elif name == "star":
            radii = [half * 1.2, half * 0.5] * 5
            corners = [(x + r * c, y + r * s) for r, (c, s) in zip(radii, _circle(10, -math.pi / 2), strict=True)]
        else:  # cross
            arm = half * 0.36
            corners = [
                (x - arm, y - half), (x + arm, y - half), (x + arm, y - arm), (x + half, y - arm),
                (x + half, y + arm), (x + arm, y + arm), (x + arm, y + half), (x - arm, y + half),
                (x - arm, y + arm), (x - half, y + arm), (x - half, y - arm), (x - arm, y - arm),
            ]  # fmt: skip
        self.draw.polygon([(a * self.scale, b * self.scale) for a, b in corners], fill=fill)

    def board(self, box: Box, color: str) -> None:
        """A sign's board."""
        fill = self.jitter(COLORS[color])
        edge: Rgb = (20, 20, 20) if sum(fill) > 380 else (235, 235, 235)
        self.draw.rounded_rectangle(self._px(*box), radius=2 * self.scale, fill=fill, outline=edge, width=self.scale)
        self.marks.append(Mark(box, "", color))

    def text(self, text: str, x: float, y: float, height: float, fill: Rgb, max_width: float = 60.0) -> Box:
        """Text about a centre in a random typeface, at most so high and so wide; returns its box."""
        face = TYPEFACES[self.rng.integers(len(TYPEFACES))]
        size = max(6, round(height * 1.3 * self.scale))
        while True:
            font = typeface(face, size)
            left, top, right, bottom = font.getbbox(text)
            if size <= 6 or (right - left <= max_width * self.scale and bottom - top <= height * self.scale):
                break
            size -= 1
        half_width, half_height = (right - left) / 2, (bottom - top) / 2
        place = (x * self.scale - half_width - left, y * self.scale - half_height - top)
        self.draw.text(place, text, font=font, fill=fill)
        units = half_width / self.scale, half_height / self.scale
        for end in range(1, len(text) + 1):
            begin, stop = (x - units[0] + font.getlength(text[:k]) / self.scale for k in (end - 1, end))
            self.marks.append(Mark((begin, y - units[1], stop, y + units[1]), text[end - 1], ""))
        return x - units[0], y - units[1], x + units[0], y + units[1]

    def jitter(self, color: Rgb) -> Rgb:
        """A shade of a named colour."""
        r, g, b = np.clip(np.array(color) + self.rng.normal(0, 10, 3), 0, 255).astype(int).tolist()
        return r, g, b

    def line(self, x0: float, y0: float, x1: float, y1: float, color: Rgb) -> None:
        """A thin line."""
        self.draw.line(self._px(x0, y0, x1, y1), fill=color, width=self.scale)

    def bar(self, box: Box, color: str) -> None:
        """A filled rectangle without an edge."""
        self.draw.rectangle(self._px(*box), fill=self.jitter(COLORS[color]))
        self.marks.append(Mark(box, "", color))

    def ink(self) -> Rgb:
        """A text colour that stands out from the background."""
        return (245, 245, 245) if self.dark else (15, 15, 15)

    def free_spot(self, radius: float, taken: Box, margin: float = 1.0) -> tuple[float, float] | None:
        """A centre for something of this radius that stays clear of a box; None where there is no room."""
        for _ in range(60):
            x = self.rng.uniform(radius + 1, self.width - radius - 1)
            y = self.rng.uniform(radius + 1, self.height - radius - 1)
            gap = radius + margin
            if not (taken[0] - gap < x < taken[2] + gap and taken[1] - gap < y < taken[3] + gap):
                return x, y
        return None

    def _px(self, *units: float) -> tuple[float, ...]:
        return tuple(unit * self.scale for unit in units)


def sorted_box(x0: float, y0: float, x1: float, y1: float) -> Box:
    """A box from any two opposite corners."""
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _circle(points: int, start: float) -> list[tuple[float, float]]:
    angles = (start + 2 * math.pi * k / points for k in range(points))
    return [(math.cos(a), math.sin(a)) for a in angles]


@lru_cache(maxsize=512)
def typeface(face: str, size: int) -> ImageFont.FreeTypeFont:
    """One of matplotlib's typefaces at a size in pixels."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
