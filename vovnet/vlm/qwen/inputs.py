"""From samples to tensors, on the CPU and in worker processes: no weights are needed here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.data import ImageRef, Sample
from vovnet.data.decoding import resized
from vovnet.errors import VoVNetError
from vovnet.vlm.kept import Kept
from vovnet.vlm.protocol import Batch, Each
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.qwen.budget import VisionBudget
from vovnet.vlm.qwen.patches import Cutter
from vovnet.vlm.qwen.prompt import Grid, PromptFormat
from vovnet.vlm.tokens import encode_user_texts

MAX_SIZES = 100_000  # images whose size is remembered


@dataclass(frozen=True)
class Pixels:
    """The images of a batch at one resolution, each distinct image once.

    Attributes:
        levels: of all distinct images one after another, uint8 [bytes].
        shapes: grid (time, height, width in patches) of each distinct image.
        rows: per sample, the indices of its images in ``shapes``.
        cut: what makes patches of them.
        pruning: how their tokens are thinned out after the vision tower; None keeps all.
        around: per sample, ids of its text before, between and after its images; empty where these stand together.
        seen: where looks show the same pictures and differ in their pruning, what the tower made of them for the first
            look that asked; None for a look of its own.
    """

    levels: Tensor
    shapes: tuple[Grid, ...]
    rows: tuple[tuple[int, ...], ...]
    cut: Cutter
    pruning: Pruning | None = None
    around: tuple[list[list[int]], ...] = ()
    seen: list[Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        pictures: Sequence[np.ndarray],
        rows: tuple[tuple[int, ...], ...],
        cut: Cutter,
        pruning: Pruning | None = None,
        around: tuple[list[list[int]], ...] = (),
    ) -> "Pixels":
        """Of distinct pictures, uint8 [height, width, channels] each."""
        levels = np.concatenate([picture.reshape(-1) for picture in pictures])
        return cls(torch.from_numpy(levels), tuple(map(cut.grid, pictures)), rows, cut, pruning, around)

    def grids(self, row: int) -> list[Grid]:
        """Grids of one sample's images."""
        return [self.shapes[i] for i in self.rows[row]]

    def patches(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Of all distinct images one after another, [P, patch_dim]; cut on the device."""
        return self.cut(self.levels, self.shapes, device, dtype)

    def contents(self) -> list[bytes]:
        """Each distinct image's patches in float32: seeds of what is drawn by an image's content."""
        patches = self.patches(torch.device("cpu"), torch.float32)
        return [part.numpy().tobytes() for part in torch.split(patches, [math.prod(grid) for grid in self.shapes])]

    def pin_memory(self) -> "Pixels":
        """The same in memory from which a GPU can copy by itself."""
        return replace(self, levels=self.levels.pin_memory())


@dataclass
class InputBuilder:
    """Tokenises questions and resizes images; picklable, for data-loader workers.

    Prepared images are kept, and sizes: an image has several questions.
    """

    tokenizer: Any
    image_processor: Any
    format: PromptFormat
    budget: VisionBudget
    end_token: int
    context: int | None = None  # tokens of a prompt that the model was made for
    kept: Kept[np.ndarray] = field(default_factory=lambda: Kept(2**28))  # prepared images
    _sizes: dict[ImageRef, tuple[int, int]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write tokenizer, chat template and image processor."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)

    def build(
        self,
        samples: Sequence[tuple[int, Sample, str]],
        actions: Iterable[Action],
        references: bool = True,
        each: Each = map,
    ) -> Batch:
        """Batch (index, sample, prompt text) triples with the images of ``actions``; empty references where none are
        asked for."""
        asked = [sample.answers[0] for _, sample, _ in samples] if references else []
        ids = encode_user_texts(self.tokenizer, [*(text for *_, text in samples), *asked])
        answers = [[*answer, self.end_token] for answer in ids[len(samples) :]] or [[] for _ in samples]
        batch = Batch(
            indices=tuple(index for index, _, _ in samples),
            ids=tuple(sample.id for _, sample, _ in samples),
            texts=tuple(text for *_, text in samples),
            questions=tuple(self._fitting("question", *pair) for pair in zip(samples, ids, strict=False)),
            references=tuple(self._fitting("reference", *pair) for pair in zip(samples, answers, strict=True)),
        )
        return self.with_images(batch, [sample for _, sample, _ in samples], actions, each)

    def with_images(
        self, batch: Batch, samples: Sequence[Sample], actions: Iterable[Action], each: Each = map
    ) -> Batch:
        """The same batch, of these samples, with the images of ``actions``."""
        if not (visual := [action for action in actions if action is not Action.NO]):
            return batch
        around = tuple(
            encode_user_texts(self.tokenizer, sample.around_images(text)) if sample.marks else []
            for sample, text in zip(samples, batch.texts, strict=True)
        )
        return replace(batch, images=self._pixels([sample.images for sample in samples], visual, each, around))

    def _fitting(self, what: str, item: tuple[int, Sample, str], ids: list[int]) -> list[int]:
        """The token ids of a text.

        Raises:
            VoVNetError: it alone is longer than the model's context.
        """
        if self.context is not None and len(ids) > self.context:
            raise VoVNetError(
                f"the {what} of sample {item[1].id} has {len(ids)} tokens, this backbone reads {self.context}; "
                "shorten it or leave the row out."
            )
        return ids

    def tokens(self, sample: Sample, actions: Sequence[Action], whole: bool = False) -> list[int]:
        """Vision tokens of a sample under each action, from image headers alone; ``whole``: before pruning."""
        sizes = [self._size(image) for image in sample.images]
        return [sum(self.budget.tokens(*size, action, whole) for size in sizes) for action in actions]

    def _size(self, image: ImageRef) -> tuple[int, int]:
        """An image's size; several questions ask for it."""
        if image in self._sizes:
            return self._sizes[image]
        size = image.size()
        if self.kept.limit and len(self._sizes) < MAX_SIZES:
            self._sizes[image] = size
        return size

    @property
    def max_tokens(self) -> int:
        """Vision tokens of a maximal FULL image, unpruned."""
        return self.budget.max_tokens

    def read_tokens(self, pixels: Pixels, row: int) -> int:
        """Vision tokens of one sample of a batch that enter the language model."""
        side, pruning = self.format.merge_size, pixels.pruning
        grids = [(height // side, width // side) for _, height, width in pixels.grids(row)]
        return sum(math.prod(grid) if pruning is None else pruning.remaining(*grid) for grid in grids)

    def _pixels(
        self,
        per_sample: Sequence[tuple[ImageRef, ...]],
        actions: Sequence[Action],
        each: Each,
        around: tuple[list[list[int]], ...],
    ) -> dict[Action, Pixels]:
        """Each distinct image once, opened once for all actions."""
        distinct = list(dict.fromkeys(reference for references in per_sample for reference in references))
        place = {reference: number for number, reference in enumerate(distinct)}
        rows = tuple(tuple(place[reference] for reference in references) for references in per_sample)
        seen = list(each(lambda reference: self._seen(reference, actions), distinct))
        found: dict[Action, Pixels] = {}
        shown = dict[tuple[int, ...], list[Action]]()
        for action in actions:
            shown.setdefault(tuple(id(image[action]) for image in seen), []).append(action)
        for alike in shown.values():
            pixels = Pixels.of([image[alike[0]] for image in seen], rows, self.cut, None, around)
            if len(alike) > 1:
                pixels = replace(pixels, seen=[])
            found |= {action: replace(pixels, pruning=self.budget.pruning_of(action)) for action in alike}
        return found

    def _seen(self, reference: ImageRef, actions: Sequence[Action]) -> dict[Action, np.ndarray]:
        known = {action: self.kept.get((reference, action)) for action in actions}
        found = {action: picture for action, picture in known.items() if picture is not None}
        if missing := [action for action in actions if action not in found]:
            made = self.pictures(reference.load(), missing)
            for action, picture in made.items():
                self.kept.put((reference, action), picture, picture.nbytes)
            found |= made
        return found

    def forget(self) -> None:
        """Keep no prepared image and no size."""
        self.kept.clear()
        self._sizes.clear()

    def pictures(self, image: Any, actions: Sequence[Action]) -> dict[Action, np.ndarray]:
        """An RGB picture resized to the budget of each action, uint8 [height, width, channels]."""
        width, height = image.size
        sizes = {action: self.budget.target_size(width, height, action) for action in actions}
        resample = self.image_processor.resample
        made = {size: np.asarray(resized(image, size, resample)) for size in set(sizes.values())}
        return {action: made[size] for action, size in sizes.items()}

    @cached_property
    def cut(self) -> Cutter:
        """What normalises pictures and cuts them into patches, as the model's own processor does."""
        return Cutter(self.image_processor)
