"""What a question is, and what a set of questions offers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from PIL import Image

from vovnet.data.pixels import NoImageError, read_image_file, shown, shown_size
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig
from vovnet.schema.code import Code


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image that is not opened yet.

    Attributes:
        key: equal keys mean equal pixels; lets a batch see a shared image once.
        path: the file it lies in.
    """

    key: str
    path: Path
    FIX: ClassVar[str] = "; replace it, or set dataset.on_error=skip."

    def content(self) -> bytes:
        """The encoded image, as it is stored.

        Raises:
            VoVNetError: it cannot be read.
        """
        try:
            return read_image_file(self.path)
        except NoImageError as error:
            raise self.refused(error) from error

    def size(self) -> tuple[int, int]:
        """(width, height) of the decoded image in pixels, from its header alone.

        Raises:
            VoVNetError: the file is missing or no image.
        """
        try:
            return shown_size(self.content())
        except NoImageError as error:
            raise self.refused(error) from error

    def load(self) -> Image.Image:
        """The decoded image, RGB, as a viewer shows it.

        Raises:
            VoVNetError: the file is missing, truncated, too large or not an image.
        """
        try:
            return shown(self.content())
        except NoImageError as error:
            raise self.refused(error) from error

    def problem(self) -> str:
        """What is wrong with the image, if anything; decodes it."""
        try:
            self.load()
        except VoVNetError as error:
            return str(error).removesuffix(self.FIX)
        return ""

    def where(self) -> str:
        """The image's place, for people."""
        return str(self.path)

    def refused(self, why: object) -> VoVNetError:
        """The one sentence about an image that cannot be used."""
        return VoVNetError(" ".join(f"image {self.where()} {why}{self.FIX}".split()))


@dataclass(frozen=True, slots=True)
class AskedImage(ImageRef):
    """An image of a single question, which belongs to no data set."""

    FIX: ClassVar[str] = "; give the path of another image."


@dataclass(frozen=True, slots=True)
class HeldImage(ImageRef):
    """An image in memory, encoded as a file would be."""

    FIX: ClassVar[str] = "; give another image."
    encoded: bytes = b""

    def content(self) -> bytes:
        """As it was encoded."""
        return self.encoded


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about some images.

    Attributes:
        id: unique within its split.
        question: the user's text, before the prompt template.
        images: all images that the question refers to.
        answers: accepted references; the first is the one whose NLL is taken.
        group: samples of one group share an image: they are held out together, and resampled together in intervals.
        category: kind of question, for slices.
        options: of a multiple-choice question, in the order of their letters, "" for a letter that is
            not offered; empty for open questions.
        hint: context that belongs to the question.
        supercategory: coarser kind, such as MMBench's l2-category.
        circle: a question and its option-shifted copies share it (MMBench's circular evaluation); "" outside of it.
        rotations: how many rows of the split these are.
        is_copy: one of the copies.
        marks: where the prompt text shows each image, such as ``<image 1>``; empty where images stand together. A text
            from outside never sets them, so that none forges a place for an image.
    """

    id: str
    question: str
    images: tuple[ImageRef, ...]
    answers: tuple[str, ...]
    group: str
    category: str
    options: tuple[str, ...] = ()
    hint: str = ""
    supercategory: str = ""
    circle: str = ""
    rotations: int = 1
    is_copy: bool = False
    marks: tuple[str, ...] = ()

    def around_images(self, text: str) -> list[str]:
        """What a prompt text says before, between and after the images at its ``marks``, without outer white space.

        As lmms-eval 0.7.3 splits it (``tasks/mmmu/utils.py``), but that an image stands at the first mark of its own
        number, and that a mark which comes again stays text, where lmms-eval drops what is before it.

        Raises:
            VoVNetError: the text lacks a mark, or shows them in another order.
        """
        found = []
        for mark in self.marks:
            before, there, text = text.partition(mark)
            if not there:
                raise VoVNetError(
                    f"the prompt of sample {self.id} does not show {mark} after the images before it; put {{question}} "
                    "and then {options} into the template, or set dataset.interleave=false."
                )
            found.append(before.strip())
        return [*found, text.strip()]


class SampleRule(ABC):
    """A scoring rule that reads more of a question than its references, and aggregates a run by itself.

    Attributes:
        name: for messages.
        source: tells the scores of two rules apart.
    """

    name: str
    source: str

    @abstractmethod
    def __call__(self, answer: str, sample: Sample) -> tuple[float, bool]:
        """Score in [0, 1], and whether the answer could be read."""

    @abstractmethod
    def official(self, samples: Sequence[Sample], answers: Sequence[str | None]) -> Mapping[str, float | str]:
        """Every metric of a run as the benchmark aggregates it; a sentence where it cannot."""


class VQADataset(Protocol):
    """A split of a visual-question set; everything but decoded images is in memory."""

    name: str
    split: str
    metric: str
    fingerprint: str  # changes when any question, reference or image changes
    config: DatasetConfig
    skipped: tuple[str, ...]  # rows left out by dataset.on_error=skip, and why

    @property
    def members(self) -> "tuple[PlainSet, ...]":
        """The sets of a mixture; a plain set is its own only member."""
        ...

    def __len__(self) -> int: ...

    def __hash__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def member(self, index: int) -> "PlainSet":
        """The set that a question comes from, whose prompt and scoring rule are the question's."""
        ...

    def place(self, index: int) -> int:
        """A question's place in the set that it comes from."""
        ...


class PlainSet:
    """What every set that is no mixture has in common.

    Attributes:
        scorer: name in ``vovnet.scoring``, the user's own, or a foreign benchmark's.
        rule: which of the benchmark's rules the scorer follows, where there are several.
        files: the tables that its rows come from.
        facts: what else summary.json says of the set.
    """

    name: str
    split: str
    metric: str
    scorer: str | Code | SampleRule
    rule: str | None = None
    fingerprint: str
    config: DatasetConfig
    skipped: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    facts: Mapping[str, Any] = MappingProxyType({})
    _samples: list[Sample]

    @property
    def members(self) -> "tuple[PlainSet, ...]":
        """Itself."""
        return (self,)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def member(self, index: int) -> "PlainSet":
        """Itself."""
        return self

    def place(self, index: int) -> int:
        """The same."""
        return index
