"""Any task of lmms-eval as a data set: its questions, prompt texts, images and scores are the task's own functions."""

import hashlib
import io
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from PIL import __version__ as pillow_version

from vovnet.data.lmms_source import OpenTask, TaskOptions
from vovnet.data.rows import RowErrors
from vovnet.data.sample import ImageRef, PlainSet, Sample
from vovnet.data.textvqa import most_common_first
from vovnet.errors import VoVNetError, first_line
from vovnet.fingerprint import fingerprint_files, recall_text, remember_text
from vovnet.schema import DatasetConfig
from vovnet.scoring.lmms_task import TaskRule
from vovnet.terminal import counted

log = logging.getLogger(__name__)
IDS = ("id", "question_id", "questionId", "index", "qid", "uid")  # columns that may name a row
Seen = tuple[str, int, int]  # digest of an image's pixels, width, height


@dataclass(frozen=True)
class TaskImage(ImageRef):
    """An image that a task shows of a row.

    Attributes:
        row, number: which of the row's images it is.
        shape: (width, height) in pixels.
    """

    row: int = 0
    number: int = 0
    shape: tuple[int, int] = (0, 0)
    source: OpenTask | None = field(default=None, repr=False, compare=False)

    def content(self) -> bytes:
        """The picture as PNG."""
        buffer = io.BytesIO()
        self.load().save(buffer, "PNG")
        return buffer.getvalue()

    def size(self) -> tuple[int, int]:
        """As it was seen when the set was opened."""
        return self.shape

    def load(self) -> Image.Image:
        """The picture as the task gives it, RGB."""
        assert self.source is not None
        try:
            return self.source.visuals(self.row)[self.number].convert("RGB")
        except (OSError, ValueError, IndexError) as error:
            raise self.refused(f"cannot be decoded ({first_line(error)})") from error

    def where(self) -> str:
        """Row and task."""
        return f"{self.number + 1} of row {self.row} of {self.path}"


class LmmsSet(PlainSet):
    """One split of a task; ``test`` is what lmms-eval evaluates, ``train`` the task's ``training_split``.

    Args:
        task: name of the task; ``include_path``, ``model``: see ``TaskOptions``.
        scale: per-sample scores are divided by it, such as 100 for percentages.
        target: the column of reference answers; None: the task's ``doc_to_target``.

    Raises:
        VoVNetError: there is no such task, it cannot be asked, or its data are not here.
    """

    def __init__(
        self,
        config: DatasetConfig,
        split: str,
        task: str | None = None,
        include_path: str | None = None,
        model: str | None = None,
        scale: float = 1,
        target: str | None = None,
    ) -> None:
        if task is None:
            raise VoVNetError("dataset=lmms asks one task of lmms-eval; give dataset.task=NAME, such as pope.")
        self.name, self.split, self.config = config.name, split, config
        opened = OpenTask(TaskOptions(task, include_path, model, config.path), split)
        errors = RowErrors(config.on_error)
        self._samples = list(_samples(opened, errors, target))
        self.skipped, self.files = tuple(errors.skipped), (opened.file,)
        if not self._samples:
            raise VoVNetError(f"the lmms-eval task {task} gives no question; {errors.why_none('see its YAML.')}")
        rows = {sample.id: sample.images[0].row for sample in self._samples}  # type: ignore[attr-defined]
        rule = TaskRule(opened, rows, config.metric, scale)
        first = self._samples[0]
        self.metric = rule.check(first) if config.scorer is None else config.metric or task
        self.scorer = config.scorer or rule
        self.facts = {"task": task, "yaml": str(opened.file), "source": opened.source, "decoding": rule.decoding}
        log.info("%s: the task's decoding is %s; VoVNet decodes as eval says", self.name, json.dumps(rule.decoding))
        self.fingerprint = _fingerprint(opened, self._samples)


def _samples(opened: OpenTask, errors: RowErrors, target: str | None) -> Iterator[Sample]:
    """The questions of a task, in its order."""
    docs, images = opened.docs, _images(opened)
    if target is not None and target not in docs.column_names:
        raise VoVNetError(f"dataset.target={target} is no column of the task; choose one of {_columns(docs)}.")
    names = _names(docs)
    for row, doc in enumerate(docs):
        answers = _answers(opened, doc, target)
        prompt = opened.task.fewshot_context(doc=doc, num_fewshot=0)
        if not isinstance(prompt, str) or not prompt.strip():
            errors.report(opened.file, row, "its prompt is no text or empty")
        elif not images[row]:
            errors.report(opened.file, row, "it shows no image, or one that cannot be decoded")
        elif not any(map(str.strip, answers)):
            errors.report(opened.file, row, "it has no reference answer (a split whose answers are not public?)")
        elif errors.is_new(opened.file, row, names[row]):
            category = doc.get("category")
            yield Sample(
                id=names[row],
                question=prompt,
                images=tuple(
                    TaskImage(digest, opened.file, row, number, (width, height), opened)
                    for number, (digest, width, height) in enumerate(images[row])
                ),
                answers=answers,
                group=images[row][0][0],
                category=category if isinstance(category, str) else "",
            )


def _answers(opened: OpenTask, doc: Any, target: str | None) -> tuple[str, ...]:
    """The references of a row, the most common first.

    Raises:
        VoVNetError: ``doc_to_target`` is the same text for every row.
    """
    said = opened.config.doc_to_target
    if target is None and isinstance(said, str) and said not in opened.docs.column_names and "{" not in said:
        raise VoVNetError(
            f"doc_to_target of the lmms-eval task {opened.options.task} is the text {said!r} for every row; set "
            f"dataset.target to the column of the answers, one of {_columns(opened.docs)}."
        )
    found = opened.task.doc_to_target(doc) if target is None else doc[target]
    if type(found) is int and opened.config.doc_to_choice is not None:
        found = opened.task.doc_to_choice(doc)[found]
    several = found if isinstance(found, list | tuple) else [found]
    return most_common_first([str(one) for one in several if one is not None])


def _columns(docs: Any) -> str:
    return ", ".join(docs.column_names)


def _names(docs: Any) -> list[str]:
    """What rows are called: by a column that tells them apart, else by their numbers."""
    for column in IDS:
        if column in docs.column_names:
            names = [str(value) for value in docs[column]]
            if len(set(names)) == len(names):
                return names
    return [str(row) for row in range(len(docs))]


def _images(opened: OpenTask) -> list[list[Seen]]:
    """Every row's images by their pixels: seen once, then remembered while the task and its files stay as they are."""
    place = _place(opened)
    if place is not None and (known := recall_text(place)) is not None:
        return [[(digest, width, height) for digest, width, height in row] for row in json.loads(known)]
    log.info(
        "looking at the images of %s of the lmms-eval task %s", counted(len(opened.docs), "row"), opened.options.task
    )
    found = [_shown(opened, row) for row in range(len(opened.docs))]
    if place is not None and all(found):  # a disk may have failed to read one for a moment
        remember_text(place, json.dumps(found))
    return found


def _shown(opened: OpenTask, row: int) -> list[Seen]:
    """A row's images; none where one cannot be decoded."""
    try:
        return [_seen(image) for image in opened.visuals(row)]
    except OSError as error:  # Pillow's
        log.warning("row %d of %s: an image cannot be decoded (%s)", row, opened.file, first_line(error))
        return []


def _seen(image: Image.Image) -> Seen:
    picture = image.convert("RGB")
    digest = hashlib.blake2b(picture.tobytes(), digest_size=12, salt=str(picture.size).encode()[:16])
    return digest.hexdigest(), *picture.size


def _place(opened: OpenTask) -> str | None:
    """Names what the images of a split depend on; None where some lie in files of their own, which may change."""
    from datasets import Image as ImageFeature

    table, columns = opened.whole, [n for n, kind in opened.whole.features.items() if isinstance(kind, ImageFeature)]
    cells = [table.data.column(name).combine_chunks() for name in columns]
    if not table.cache_files or not cells or any(cell.field("bytes").null_count > cell.null_count for cell in cells):
        return None
    files = fingerprint_files({Path(file["filename"]) for file in table.cache_files})
    facts = [files, opened.source, opened.options.model, opened.split, len(table), pillow_version]
    return f"lmms images {hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"


def _fingerprint(opened: OpenTask, samples: Sequence[Sample]) -> str:
    """SHA-256 over the task's source, every text and every image's pixels."""
    digest = hashlib.sha256(opened.source.encode())
    for one in samples:
        facts = [one.id, one.question, one.answers, one.category, [image.key for image in one.images]]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()
