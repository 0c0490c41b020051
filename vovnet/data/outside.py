"""Data sets that the user's own code reads: ``dataset.reader`` names a function of the configuration and the split."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from vovnet.data.rows import RowErrors, without_broken_images
from vovnet.data.sample import ImageRef, PlainSet, Sample
from vovnet.errors import VoVNetError, first_line
from vovnet.fingerprint import fingerprint_files
from vovnet.schema import DatasetConfig
from vovnet.schema.code import Code


def outside_set(reader: Code, config: DatasetConfig, split: str) -> PlainSet:
    """One split as ``reader(config, split)`` gives it: an iterable of ``Sample``, or a whole ``PlainSet``.

    Raises:
        VoVNetError: the reader fails, or a row is unusable and ``on_error`` is not ``skip``.
    """
    try:
        given = reader(config, split)
        return given if isinstance(given, PlainSet) else OutsideSet(reader, list(given), config, split)
    except VoVNetError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise VoVNetError(f"the reader {reader.target} fails on dataset={config.name} ({said}).") from error


class OutsideSet(PlainSet):
    """One split of the samples that a reader gave."""

    def __init__(self, reader: Code, rows: Sequence[object], config: DatasetConfig, split: str) -> None:
        self.name, self.split, self.config = config.name, split, config
        self.scorer = config.scorer or "plain"
        self.metric = config.metric or (self.scorer if isinstance(self.scorer, str) else self.scorer.name)
        errors = RowErrors(config.on_error)
        samples = list(_samples(reader, rows, errors))
        if config.on_error == "skip":
            samples = without_broken_images(samples, errors)
        if not samples:
            raise VoVNetError(f"{reader.target} gives no question of {split}; {errors.why_none('see its code.')}")
        self._samples, self.skipped = samples, tuple(errors.skipped)
        self.fingerprint = _fingerprint(reader, samples)


def _samples(reader: Code, rows: Sequence[object], errors: RowErrors) -> Iterable[Sample]:
    """What the reader gave, each row checked.

    Raises:
        VoVNetError: a row is unusable and ``on_error`` is not ``skip``.
    """
    place = Path(reader.target)  # stands for the file in sentences about a row
    for number, row in enumerate(rows):
        if problem := _problem(row):
            errors.report(place, number, problem)
        elif isinstance(row, Sample) and errors.is_new(place, number, row.id):
            yield row


def _problem(row: object) -> str:
    """What keeps a row from being asked, if anything does."""
    if not isinstance(row, Sample):
        return f"it is a {type(row).__name__}, no vovnet.Sample"
    texts = (row.id, row.question, row.group, row.category, row.hint, *row.answers, *row.options)
    if any(not isinstance(text, str) for text in texts):
        return "an id, question, answer, option or label is no text"
    if not all(isinstance(image, ImageRef) for image in row.images) or not row.images:
        return "its images are no ImageRef, or there is none"
    for name, value in (("id", row.id), ("question", row.question), ("group", row.group)):
        if not value.strip():
            return f"its {name} is empty"
    return "" if any(map(str.strip, row.answers)) else "there is no answer"


def _fingerprint(reader: Code, samples: list[Sample]) -> str:
    """SHA-256 over the reader, every text and every image."""
    digest = hashlib.sha256(reader.identity.encode())
    for sample in samples:
        facts = asdict(sample) | {"images": [image.key for image in sample.images]}
        if not sample.marks:  # newer than some fingerprints
            del facts["marks"]
        digest.update(json.dumps(facts, sort_keys=True).encode())
    try:
        digest.update(fingerprint_files({image.path for sample in samples for image in sample.images}).encode())
    except OSError as error:
        raise VoVNetError(
            f"an image of {reader.target} cannot be read ({error.filename}: {error.strerror}); give its full path."
        ) from error
    return digest.hexdigest()
