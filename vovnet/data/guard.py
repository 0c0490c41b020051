"""The leak guard: is a question of an evaluation split in the training data?

Images are compared as they look, so that a copy that was encoded again or lost a border is found; questions
by their wording and options, in any order. A wording that is asked about many images is a template of its
set ("What color is the shape?") and tells nothing; it is counted and is no leak.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vovnet.data.sample import Sample, VQADataset
from vovnet.data.signatures import SIDE, Signatures, choices, normal_form, signatures, thumbnail
from vovnet.terminal import Progress, progress

Size = tuple[int, int]  # width and height in pixels
TEMPLATE = 4  # a wording about so many images is a template
# Thumbnails of a copy correlate above, and differ by less than: measured on re-encoded and cropped copies of
# easy-VQA and the mini sets. What passes is compared at full size.
THUMB_CORRELATION, THUMB_DISTANCE = 0.6, 34.0  # grey levels, root mean square
# Of area averages, in grey levels: the mean colour, the mean of all, the largest in light and in colour.
# Of copies at JPEG quality 75, cropped or not, 99.8 % stay below all four, at quality 50 99.5 %; of the
# 30,000 most similar pairs of different images in these sets none does.
COPY_TINT, COPY_MEAN, COPY_LIGHT, COPY_BLOCK = 5.0, 5.5, 12.0, 36.0
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
MAX_CROP = 0.07  # of a side, and at least 4 pixels
LONG_QUESTION = 8  # words
OPEN_VOCABULARY = 0.3  # distinct references per question, from which on a common one tells something
SHOWN = 20  # findings that are listed in full

EVALUATION_FILE = {
    "mmbench": r"dev|test",
    "mmmu": r"validation|test",
    "textvqa": r"val|validation|test",
}
EVALUATION_DEFAULT = r"val|validation|dev|test|eval"


@dataclass(frozen=True)
class Finding:
    """One thing that both sides share.

    Attributes:
        kind: ``image``, ``question`` or ``split``, the names that ``leaks.allow`` takes.
        evaluation, training: ids of the samples, or names of files.
    """

    kind: str
    evaluation: str
    training: str
    detail: str


@dataclass(frozen=True)
class LeakReport:
    """What the guard saw.

    Attributes:
        training, evaluation: {name, split, fingerprint} of both sides.
        templates: questions whose wording is a template that both sides use.
    """

    training: dict[str, str]
    evaluation: dict[str, str]
    findings: tuple[Finding, ...]
    templates: int

    def refused(self, allow: Sequence[str]) -> list[Finding]:
        """Findings of kinds that are not allowed."""
        return [finding for finding in self.findings if finding.kind not in allow]

    def as_json(self, allow: Sequence[str]) -> dict[str, Any]:
        """As summary.json holds it."""
        return {
            "training": self.training,
            "evaluation": self.evaluation,
            "passed": not self.findings,
            "counts": dict(Counter(finding.kind for finding in self.findings)),
            "allowed": sorted(set(allow) & {finding.kind for finding in self.findings}),
            "templates_shared": self.templates,
            "findings": [vars(finding) for finding in self.findings],
        }

    def sentence(self, allow: Sequence[str]) -> str:
        """What is shared and where, for the terminal."""
        bad = self.refused(allow)
        kinds = Counter(finding.kind for finding in bad)
        lines = [f"  {f.kind}: evaluation {f.evaluation} = training {f.training} ({f.detail})" for f in bad[:SHOWN]]
        more = [f"  and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        head = ", ".join(f"{count} by {kind}" for kind, count in kinds.items())
        return "\n".join(
            [
                f"{self.evaluation['name']}/{self.evaluation['split']} is in the training data "
                f"{self.training['name']}/{self.training['split']} ({head}); take these rows out of the training "
                f"data, or set leaks.allow=[{','.join(kinds)}], which is then recorded in every summary:",
                *lines,
                *more,
            ]
        )


def compare(training: VQADataset, evaluation: VQADataset, cache: Path) -> LeakReport:
    """Look for an evaluation split's samples in training data. Decodes each image of both sides once, ever."""
    seen, asked = signatures(training, cache), signatures(evaluation, cache)
    questions, templates = _questions(training, evaluation, seen, asked)
    label = f"comparing {evaluation.name}/{evaluation.split} with {training.name}/{training.split}"
    with progress(label, len(asked.images), "images") as bar:
        images = [*_images(training, evaluation, seen, asked, bar)]
    findings = [*_files(training, evaluation), *images, *questions]
    return LeakReport(_side(training), _side(evaluation), tuple(findings), templates)


def _side(dataset: VQADataset) -> dict[str, str]:
    return {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint}


def _files(training: VQADataset, evaluation: VQADataset) -> Iterator[Finding]:
    """Training files that are evaluation files, by name or because they are the very same."""
    held_out = {file.resolve() for member in evaluation.members for file in member.files}
    for member in training.members:
        words = EVALUATION_FILE.get(member.name.removeprefix("mini_"), EVALUATION_DEFAULT)
        for file in member.files:
            if file.resolve() in held_out:
                yield Finding("split", file.name, str(file), "the same file")
            elif re.search(rf"(?<![a-z])({words})(?![a-z])", file.stem.lower()):
                yield Finding("split", f"{member.name}'s evaluation split", str(file), "by the file's name")


def _images(
    training: VQADataset, evaluation: VQADataset, seen: Signatures, asked: Signatures, bar: Progress
) -> Iterator[Finding]:
    exact = {value: row for row, value in enumerate(seen.exact)}
    suspects = _suspects(asked.thumbs, seen.thumbs)
    for row, image in enumerate(asked.images):
        found, how = exact.get(asked.exact[row]), "the same pixels"
        if found is None:
            how = "the same picture"
            found = next((c for c in suspects[row] if _is_copy(asked, row, seen, c)), None)
        if found is not None:
            names = evaluation[asked.first[row]].id, training[seen.first[found]].id
            yield Finding("image", *names, f"{how}: {image.path.name} and {seen.images[found].path.name}")
        bar.advance(1)


def _is_copy(asked: Signatures, row: int, seen: Signatures, other: int) -> bool:
    """The same as ``is_copy``; images are opened only where one may be cut out of the other."""
    sizes = tuple(asked.sizes[row].tolist()), tuple(seen.sizes[other].tolist())
    if sizes[0] == sizes[1] or not (_may_contain(*sizes) or _may_contain(*reversed(sizes))):
        one, two = (side.thumbs[place].reshape(SIDE, SIDE, 3) for side, place in ((asked, row), (seen, other)))
        return _equal(one, two)
    return is_copy(asked.images[row].load(), seen.images[other].load())


def _suspects(asked: np.ndarray, seen: np.ndarray, block: int = 512) -> list[list[int]]:
    """Rows of ``seen`` whose thumbnails resemble each row of ``asked``, the most similar first."""
    found: list[list[int]] = []
    unit_seen, square_seen = _unit(seen), (seen**2).sum(1)
    for start in range(0, len(asked), block):
        part = asked[start : start + block]
        correlation = _unit(part) @ unit_seen.T
        square = (part**2).sum(1)[:, None] + square_seen - 2 * part @ seen.T
        close = np.maximum(square, 0) / seen.shape[1] < THUMB_DISTANCE**2
        alike = close & (correlation > THUMB_CORRELATION)
        for row in range(len(part)):
            columns = np.flatnonzero(alike[row])
            found.append(columns[np.argsort(-correlation[row, columns])].tolist())
    return found


def _unit(thumbs: np.ndarray) -> np.ndarray:
    """Each row without its mean colour, at length one."""
    centred = thumbs.reshape(len(thumbs), -1, 3)
    centred = (centred - centred.mean(1, keepdims=True)).reshape(len(thumbs), -1)
    unit: np.ndarray = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return unit


def is_copy(one: Image.Image, other: Image.Image) -> bool:
    """Whether an image is another one, encoded or scaled anew or with a narrow border cut off either."""
    for whole, part in ((one, other), (other, one)):
        for region in _regions(whole.size, part.size):
            if _equal(thumbnail(whole.crop(region)), thumbnail(part)):
                return True
    return False


def _regions(whole: Size, part: Size) -> Iterator[tuple[int, int, int, int]]:
    """Where in ``whole`` a part may come from: all of it, or as much as is missing cut off somewhere."""
    yield (0, 0, *whole)
    missing = (whole[0] - part[0], whole[1] - part[1])
    if missing != (0, 0) and _may_contain(whole, part):
        for left in sorted({0, missing[0] // 2, missing[0]}):
            for top in sorted({0, missing[1] // 2, missing[1]}):
                yield left, top, left + part[0], top + part[1]


def _may_contain(whole: Size, part: Size) -> bool:
    """Whether ``part`` is as large as ``whole`` less a narrow border."""
    return all(0 <= w - p <= max(4, MAX_CROP * w) for w, p in zip(whole, part, strict=True))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal up to what encoding does to area averages."""
    apart = one.astype(np.float32) - other.astype(np.float32)
    return bool(
        np.abs(apart.mean((0, 1))).max() < COPY_TINT
        and np.abs(apart).mean() < COPY_MEAN
        and np.abs(apart @ LUMINANCE).max() < COPY_LIGHT
        and np.abs(apart).mean(2).max() < COPY_BLOCK
    )


def _questions(
    training: VQADataset, evaluation: VQADataset, seen: Signatures, asked: Signatures
) -> tuple[list[Finding], int]:
    """Questions with the same wording that mean the same; and how many wordings are templates instead."""
    about: dict[str, set[str]] = {}
    known: dict[str, list[int]] = {}
    for side in (seen, asked):
        for wording, group in zip(side.wording, side.group, strict=True):
            about.setdefault(wording, set()).add(group)
    for row, wording in enumerate(seen.wording):
        known.setdefault(wording, []).append(row)
    answers = {normal_form(evaluation[row].answers[0]) for row in range(len(evaluation))}
    telling = len(answers) >= OPEN_VOCABULARY * len(evaluation)
    findings, templates = [], 0
    for row, wording in enumerate(asked.wording):
        if wording not in known:
            continue
        if len(about[wording]) >= TEMPLATE:
            templates += 1
            continue
        match = next((r for r in known[wording] if _same_question(training[r], evaluation[row], telling)), None)
        if match is not None:
            names = evaluation[row].id, training[match].id
            findings.append(Finding("question", *names, f"{evaluation[row].question[:60]!r} in both"))
    return findings, templates


def _same_question(one: Sample, other: Sample, telling: bool) -> bool:
    """Whether questions of the same wording are the same: equal options in any order, or a common reference.

    Short open questions are asked by chance about unrelated images ("what brand is this?"); then the
    references tell. In a set with but a few references (``telling`` is false) nothing does.
    """
    if one.options and other.options:
        return choices(one) == choices(other)
    if one.options or other.options:
        return True
    common = len(other.question.split()) >= LONG_QUESTION or bool(choices(one) & choices(other))
    return telling and common
