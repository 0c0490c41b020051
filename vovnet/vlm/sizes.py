"""How large a picture may be within bounds in pixels."""

import math

from vovnet.schema import Resolution


def inside(width: int, height: int, full: Resolution, look: Resolution, unit: int) -> tuple[int, int]:
    """(width, height) in pixels under a look, which is fitted inside FULL's size, so that it never costs more, whatever
    the rounding."""
    return fit(*fit(width, height, full, unit), look, unit)


def fit(width: int, height: int, resolution: Resolution, factor: int) -> tuple[int, int]:
    """The largest (width, height), multiples of ``factor``, within both bounds and near the aspect ratio.

    Never enlarges an image, except up to the next multiple of ``factor`` (an image of one pixel
    still takes one token).
    """
    scale = min(
        1.0,
        resolution.long_side / max(width, height),
        math.sqrt(resolution.max_pixels / (width * height)),
    )
    limit = resolution.long_side // factor
    columns = min(limit, max(1, round(width * scale / factor)))
    rows = min(limit, max(1, round(height * scale / factor)))
    while rows * columns * factor**2 > resolution.max_pixels:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    return columns * factor, rows * factor
