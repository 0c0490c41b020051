"""Samples whose image is no whole image: found by decoding all of them, once."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence

from PIL import __version__ as pillow_version

from vovnet.data.rows import RowErrors
from vovnet.data.sample import ImageRef, Sample
from vovnet.fingerprint import SETTLED, file_state, recall_text, remember_text
from vovnet.terminal import counted

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
        log.info("decoding %s, to leave the broken ones out (dataset.on_error=skip)", counted(len(images), "image"))
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
