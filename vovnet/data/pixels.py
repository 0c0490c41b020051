"""From the bytes of an image file to what a viewer would show of it."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from vovnet.files import open_file

# Each of these is decoded by Pillow itself; what would start another program (EPS) or fetch a file is not among them.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MAX_BYTES = 2**28  # of an encoded image
MAX_PIXELS = 2**26  # 67 million, 200 MB once decoded: far above what any budget lets through

# What Pillow's EXIF and XMP readers raise for damaged metadata.
METADATA_ERRORS = (OSError, ValueError, LookupError, TypeError, SyntaxError, EOFError, OverflowError, struct.error)

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by the EXIF orientation, what turns the stored picture upright


class NoImageError(Exception):
    """The bytes are no image that can be used; the message says why."""


def shown_size(content: bytes) -> tuple[int, int]:
    """(width, height) in pixels as shown, from the header alone.

    Raises:
        NoImageError: unreadable or too large.
    """
    with _open(content) as image:
        width, height = image.size
        return (height, width) if _orientation(image) > 4 else (width, height)


def shown(content: bytes) -> Image.Image:
    """The picture in RGB: the first frame, upright, on white where it is transparent, 16 bits scaled to 8.

    Raises:
        NoImageError: unreadable, truncated, too large, or with pixels that have no agreed range (floats).
    """
    with _open(content) as image:
        orientation = _orientation(image)
        try:
            picture = _rgb(image)
        except NoImageError:
            raise
        except Exception as error:  # a format's parser raises whatever damaged bytes lead it to
            raise NoImageError(f"cannot be decoded ({_said(error)})") from error
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


def read_image_file(path: Path) -> bytes:
    """An encoded image from a file of its own.

    Raises:
        NoImageError: missing, unreadable or too large.
    """
    try:
        with open_file(path) as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: no path at all, such as one with a NUL
        raise NoImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return content


def _open(content: bytes) -> Image.Image:
    """The image by its content, whatever its file is called; nothing is decoded yet."""
    if not content:
        raise NoImageError("cannot be read (it is empty)")
    if len(content) > MAX_BYTES:
        raise NoImageError(f"cannot be read (it is larger than {MAX_BYTES >> 20} MB)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's about size; ours is an error and comes below
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise NoImageError(f"has more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise NoImageError(f"cannot be read (no whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file)") from error
    except Exception as error:  # as in ``shown``
        raise NoImageError(f"cannot be read ({_said(error)})") from error
    width, height = image.size
    if width < 1 or height < 1:
        raise NoImageError("has no pixels")
    if width * height > MAX_PIXELS:
        raise NoImageError(f"has {width} x {height} pixels, more than {MAX_PIXELS:,}")
    return image


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 where there is none. Read from what precedes the pixels, so that size and picture agree.

    Pillow turns TIFFs by itself, and decodes a whole PNG in search of EXIF unless asked through the base class.
    """
    if image.format == "TIFF":
        return 1
    try:
        return int(Image.Image.getexif(image).get(Base.Orientation, 1))
    except METADATA_ERRORS:  # damaged: the picture is shown as it is stored
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise NoImageError("has floating-point pixels, whose range nobody knows; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise NoImageError("has pixels of more than 16 bits, whose range nobody knows; save it with 8 or 16 bits")
        return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "RGB":  # as most photographs; a conversion would copy it under Python's lock
        image.load()
        return image
    return image.convert("RGB")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
