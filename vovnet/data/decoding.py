"""What the installed Pillow makes of picture files, as a digest.

Versions decode and resize to other pixels (Pillow 13 differs from 11 and 12 where a picture gets wider and shorter),
and so do builds with another JPEG library. Whatever is stored of pictures carries the digest of some fixed ones, so
that only versions that differ in these have stores of their own.
"""

import base64
import hashlib
import io
from functools import cache

import numpy as np
from PIL import Image

from vovnet.data.pixels import shown

# 23 x 19 pixels with halved colour resolution: the parts of decoding in which JPEG libraries differ.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ"
    "YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAATABcD"
    "ASIAAhEBAxEB/8QAFwABAQEBAAAAAAAAAAAAAAAAAAUGBP/EACEQAAAFBAMBAQAAAAAAAAAAAAABBBESAgMTQTFSgTQU/8QAGAEAAgMAAAAAAAAA"
    "AAAAAAAABAYAAQX/xAAoEQABAgUCBAcAAAAAAAAAAAABAhEAAwQSITFBBWFxgRMUIjJCUWL/2gAMAwEAAhEDEQA/AO1Kuj85z7PoUEq6PznPs+hi"
    "bC6W8DeOKNhdLeBvHFLpGa3s2Otr+3ndr8Yy6Gh5RtUy6JH+c59n0AzVldIucDeOADFKsBkOB+SlI7BWR366Q0yqH05EYJHXVffKZ1R40KCOuq++"
    "UzqjxoADLKHieXvzffc+7aP9ts+kDUQAeKCOuq+R5TOqPGgABOHyJU+mTMmpClF8kOdTuYZ04DCP/9k="
)


RESIZES = (  # (from, to), as (width, height) in pixels
    ((44, 58), (48, 56)),  # wider and shorter
    ((58, 44), (56, 48)),  # narrower and taller
    ((58, 44), (16, 16)),  # a thumbnail
    ((58, 44), (96, 72)),  # enlarged
)


@cache
def decoding_digest(resample: int | None) -> str:
    """16 hex digits over the pixels of some fixed files, decoded and resized.

    Args:
        resample: Pillow's filter, None for its default.
    """
    digest = hashlib.sha256(shown(JPEG).tobytes())
    for source, target in RESIZES:
        picture = shown(_png(*source))
        digest.update(picture.tobytes() + resized(picture, target, resample).tobytes())
    return digest.hexdigest()[:16]


def resized(picture: Image.Image, size: tuple[int, int], resample: int | None) -> Image.Image:
    """The picture at a size, (width, height) in pixels; itself where it has that size."""
    return picture if size == picture.size else picture.resize(size, resample=resample)


def _png(width: int, height: int) -> bytes:
    """A file of ramps, stripes and half-transparent pixels. Its format loses nothing, whoever writes it."""
    row, column = np.mgrid[:height, :width]
    stripes = (column // 3 + row // 5) % 2 * 255
    levels = np.stack([(7 * column + 3 * row) % 256, row * column % 256, stripes, 255 - row], axis=-1)
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
