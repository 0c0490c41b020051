"""What two splits are compared by: small pictures of their images, and normal forms of their questions."""

import hashlib
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vovnet.data.decoding import decoding_digest
from vovnet.data.sample import ImageRef, Sample, VQADataset
from vovnet.files import open_file, write_bytes
from vovnet.terminal import progress

log = logging.getLogger(__name__)
SIDE = 16  # pixels of a thumbnail
FORMAT = 2  # rises when thumbnails are made otherwise


@dataclass(frozen=True)
class Signatures:
    """A split's images and questions in comparable form.

    Attributes:
        images: distinct images in order of their first question.
        thumbs: [M, SIDE * SIDE * 3] float32.
        sizes: (width, height) of each image, int64 [M, 2].
        exact: SHA-256 of each image's pixels.
        first: the first question about each image.
        wording: normalised question of each sample.
        group: images that each sample is about.
    """

    images: Sequence[ImageRef]
    thumbs: np.ndarray
    sizes: np.ndarray
    exact: Sequence[str]
    first: Sequence[int]
    wording: Sequence[str]
    group: Sequence[str]


def signatures(dataset: VQADataset, cache: Path) -> Signatures:
    """Compute a split's signatures; its thumbnails are kept under ``cache`` by the split's fingerprint and
    by what Pillow makes of files."""
    first: dict[ImageRef, int] = {}
    samples = [dataset[i] for i in range(len(dataset))]
    for index, sample in enumerate(samples):
        for image in sample.images:
            first.setdefault(image, index)
    images = list(first)
    file = cache / f"{dataset.fingerprint[:24]}-{FORMAT}-{decoding_digest(Image.Resampling.BOX)}.npz"
    found = _load(file, len(images)) or _compute(images, file, f"{dataset.name}/{dataset.split}")
    return Signatures(
        images=images,
        thumbs=found["thumbs"].astype(np.float32),
        sizes=found["sizes"],
        exact=found["exact"].tolist(),
        first=list(first.values()),
        wording=[normal_form(s.question) for s in samples],
        group=[s.group for s in samples],
    )


def _load(file: Path, count: int) -> dict[str, np.ndarray] | None:
    """What was kept; None where there is nothing, or something damaged (an archive verifies its checksums)."""
    try:
        with open_file(file) as opened, np.load(opened, allow_pickle=False) as content:
            found = {name: content[name] for name in ("thumbs", "sizes", "exact")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("%s is damaged (%s); it is made anew", file, error)
        return None
    return found if len(found["thumbs"]) == count else None


def _compute(images: Sequence[ImageRef], file: Path, label: str) -> dict[str, np.ndarray]:
    thumbs = np.empty((len(images), SIDE * SIDE * 3), dtype=np.uint8)
    sizes = np.empty((len(images), 2), dtype=np.int64)
    exact = np.empty(len(images), dtype="U32")
    with progress(f"looking through {label}", len(images), "images") as bar:
        for row, reference in enumerate(images):
            image = reference.load()
            thumbs[row] = thumbnail(image).reshape(-1)
            sizes[row] = image.size
            exact[row] = hashlib.sha256(image.tobytes() + str(image.size).encode()).hexdigest()[:32]
            bar.advance(1)
    found: dict[str, np.ndarray] = {"thumbs": thumbs, "sizes": sizes, "exact": exact}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **found)  # type: ignore[arg-type]  # its stubs know no mapping
    write_bytes(file, buffer.getvalue())
    return found


def thumbnail(image: Image.Image) -> np.ndarray:
    """Area averages, uint8 [SIDE, SIDE, 3]."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)


def normal_form(text: str) -> str:
    """Lower case, without punctuation, image marks and repeated white space."""
    return " ".join(re.sub(r"<image \d+>|[^\w\s]", " ", text.lower()).split())


def choices(sample: Sample) -> frozenset[str]:
    """A question's options in normal form and in no order; its references where it has no options."""
    return frozenset(normal_form(text) for text in (sample.options or sample.answers) if text)
