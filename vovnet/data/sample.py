"""What a question is, and what a set of questions offers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that is not opened yet.

    Attributes:
        key: equal keys mean equal pixels; lets a batch see a shared image once.
        path: the file it lies in.
    """

    key: str
    path: Path

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, from the file's header alone."""
        with self._open() as image:
            return image.size

    def load(self) -> Image.Image:
        """The decoded RGB image.

        Raises:
            VoVNetError: the file is missing, truncated or not an image.
        """
        with self._open() as image:
            try:
                return image.convert("RGB")
            except (OSError, SyntaxError, ValueError) as error:
                raise VoVNetError(f"image {self.path} cannot be decoded ({error}); replace the file.") from error

    def _open(self) -> Image.Image:
        try:
            return Image.open(self.path)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VoVNetError(f"image {self.path} cannot be read ({error}); replace the file.") from error


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about some images.

    Attributes:
        id: unique within its split.
        question: the user's text, before the prompt template.
        images: all images that the question refers to.
        answers: accepted references; the first is the one whose NLL is taken.
        group: samples of one group share an image and are resampled together in intervals.
        category: kind of question, for slices.
        options: of a multiple-choice question, in the order of their letters, "" for a letter that is
            not offered; empty for open questions.
        hint: context that belongs to the question.
    """

    id: str
    question: str
    images: tuple[ImageRef, ...]
    answers: tuple[str, ...]
    group: str
    category: str
    options: tuple[str, ...] = ()
    hint: str = ""


class VQADataset(Protocol):
    """A split of a visual-question set; everything but decoded images is in memory."""

    name: str
    split: str
    metric: str
    scorer: str  # name in vovnet.scoring
    fingerprint: str  # changes when any question, reference or image changes
    config: DatasetConfig
    skipped: tuple[str, ...]  # rows left out by dataset.on_error=skip, and why

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
