"""Samples whose image is no whole image, found by decoding all of them once; the installed Pillow as a digest."""

import base64
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version

from vovnet.data.pixels import shown
from vovnet.data.rows import RowErrors
from vovnet.data.sample import ImageRef, Sample
from vovnet.fingerprint import SETTLED, file_state, recall_text, remember_text

# What the installed Pillow makes of picture files, as a digest.
#
# Versions decode and resize to other pixels (Pillow 13 differs from 11 and 12 where a picture gets wider and shorter),
# and so do builds with another JPEG library. Whatever is stored of pictures carries the digest of some fixed ones, so
# that only versions that differ in these have stores of their own.

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


log = logging.getLogger(__name__)
RULES = 1  # raised by hand whenever other images than before count as broken


def without_broken_images(samples: list[Sample], errors: RowErrors, settled: float = SETTLED) -> list[Sample]:
    """Leave out samples whose image cannot be decoded; only ``on_error=skip`` pays for looking.

    Args:
        settled: seconds since its last change after which a file counts as one that stays.
    """
    problems = _problems(list(dict.fromkeys(image for sample in samples for image in sample.images)), settled)
    kept = []
    for sample in samples:
        broken = [problems[image] for image in sample.images if image in problems]
        if broken:
            errors.report(sample.images[0].path, f"of sample {sample.id}", broken[0])
        else:
            kept.append(sample)
    return kept


def _problems(images: Sequence[ImageRef], settled: float) -> dict[ImageRef, str]:
    """What is wrong with the broken ones. Where no file has changed since, only those that were broken are decoded.

    They are, since a disk may have failed to read them for a moment.
    """
    state = _state(images, settled)
    known = None if state is None else recall_text(state)
    suspects = range(len(images)) if known is None else json.loads(known)
    if known is None:
        log.info("decoding %d images, to leave the broken ones out (dataset.on_error=skip)", len(images))
    found = {place: problem for place in suspects if (problem := images[place].problem())}
    if state is not None and known is None:
        remember_text(state, json.dumps(list(found)))
    return {images[place]: problem for place, problem in found.items()}


def _state(images: Sequence[ImageRef], settled: float) -> str | None:
    """Names these images in the files that they lie in now; None where a file is missing or has just changed."""
    digest = hashlib.sha256(json.dumps(["images", RULES, pillow_version]).encode())
    try:
        stats = {path: os.stat(path) for path in {image.path for image in images}}  # noqa: PTH116  (see fingerprint)
    except OSError:
        return None
    if any(time.time() - max(stat.st_mtime, stat.st_ctime) <= settled for stat in stats.values()):
        return None
    for image in images:
        digest.update(json.dumps((str(image.path), image.key, *file_state(stats[image.path]))).encode())
    return f"images {digest.hexdigest()}"
