"""Files of a split, their rows and images: found, refused with file and row, or skipped and counted."""

import hashlib
import itertools
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from PIL import __version__ as pillow_version

from vovnet.data.sample import ImageRef, Sample
from vovnet.data.tsv import tsv_records
from vovnet.errors import VoVNetError
from vovnet.files import open_file
from vovnet.fingerprint import SETTLED, file_state, recall_text, remember_text
from vovnet.terminal import counted

OnError = Literal["raise", "skip"]
log = logging.getLogger(__name__)
RULES = 1  # raised by hand whenever other images than before count as broken


def _line(path: Path, row: int) -> str:
    """The line on which a row of a text file begins, which is not its number where there is a header or a long cell."""
    if path.suffix != ".tsv":
        return ""
    *_, record = itertools.islice(tsv_records(path), row + 2)
    with open_file(path) as file:
        lines = file.read(record.start).count(b"\n")
    return f" (line {lines + 1})"


@dataclass
class RowErrors:
    """Collects unusable rows of a data set.

    Attributes:
        on_error: ``raise`` ends with the first; ``skip`` goes on and keeps what was said.
        ids: of the rows that were kept, over all files of the split.
    """

    on_error: OnError
    skipped: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def is_new(self, path: Path, row: int, name: str) -> bool:
        """Whether no earlier row has this id; reports the row otherwise."""
        if name in self.ids:
            self.report(path, row, f"id {name} occurs twice")
            return False
        self.ids.add(name)
        return True

    def report(self, path: Path, row: int | str, problem: str) -> None:
        """Refuse or note a row.

        Args:
            row: its number, from 0, which people are shown from 1; or where it is, as a phrase.
        """
        raises = self.on_error == "raise"
        place = row if isinstance(row, str) else f"row {row + 1}{_line(path, row) if raises else ''}"
        if raises:
            raise VoVNetError(f"{path}, {place}: {problem}; fix the row, or set dataset.on_error=skip.")
        self.skipped.append(f"{path}, {place}: {problem}")

    def why_none(self, advice: str) -> str:
        """Why no row is left: the first that was skipped, or ``advice`` where there was none."""
        if not self.skipped:
            return advice
        return f"all {len(self.skipped)} were skipped, the first since {self.skipped[0]}."

    def kept(self, fingerprint: str, samples: Sequence[Sample]) -> str:
        """The fingerprint of what was kept of some files.

        Outcomes are stored by a question's place, and rows that were left out shift all that follow.
        """
        if not self.skipped:
            return fingerprint
        content = json.dumps([fingerprint, [sample.id for sample in samples]])
        return hashlib.sha256(content.encode()).hexdigest()


def files_under(path: Path, patterns: tuple[str, ...], split: str, advice: str) -> list[Path]:
    """The files of a split that ``dataset.path`` means: itself, or those in the folder that match.

    A single file must match as well: the name is what tells a training file from an evaluation file.

    Raises:
        VoVNetError: nothing there; says what to download and where to put it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise VoVNetError(f"dataset.path={path} is neither a file nor a folder; {advice}")
    if path.is_file():
        found = [path] if any(fnmatch(path.name, pattern) for pattern in patterns) else []
    else:
        found = sorted({file for pattern in patterns for file in path.rglob(pattern) if file.is_file()})
    if not found:
        raise VoVNetError(
            f"dataset.path={path} holds no {split} file ({', '.join(patterns)}); {advice} "
            f"Files of other names: dataset.files.{split}=[PATTERN]."
        )
    return found


def row_name(path: Path, row: int) -> str:
    """The id of a row that has none of its own."""
    return f"{path.stem}-{row}"


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
