"""From samples to tensors, on the CPU and in worker processes: no weights are needed here."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.backbone.budget import VisionBudget
from vovnet.backbone.prompt import Grid, PromptFormat, encode_user_text
from vovnet.data import ImageRef, Sample
from vovnet.errors import VoVNetError

Patches = tuple[Tensor, Grid]  # pixel patches [P, patch_dim] of one image, and its grid


@dataclass(frozen=True)
class Pixels:
    """The images of a batch at one resolution, each distinct image once.

    Attributes:
        images: distinct images.
        rows: per sample, the indices of its images in ``images``.
    """

    images: tuple[Patches, ...]
    rows: tuple[tuple[int, ...], ...]

    def grids(self, row: int) -> list[Grid]:
        """Grids (time, height, width in patches) of one sample's images."""
        return [self.images[i][1] for i in self.rows[row]]


@dataclass(frozen=True)
class Batch:
    """Samples as the backbone takes them.

    Attributes:
        indices: position of each sample in its dataset.
        questions: token ids of each sample's prompt text.
        references: token ids of each sample's reference answer with the end token;
            read by the NLL and by nothing else.
        pixels: images per visual action; holds only the actions that were asked for.
    """

    indices: tuple[int, ...]
    questions: tuple[list[int], ...]
    references: tuple[list[int], ...]
    pixels: Mapping[Action, Pixels]

    def __len__(self) -> int:
        return len(self.questions)

    def select(self, rows: Sequence[int]) -> "Batch":
        """Some samples, without images."""
        return Batch(
            indices=tuple(self.indices[r] for r in rows),
            questions=tuple(self.questions[r] for r in rows),
            references=tuple(self.references[r] for r in rows),
            pixels={},
        )


def join_batches(parts: Sequence[Batch]) -> Batch:
    """Samples of several batches one after another, without images."""
    return Batch(
        indices=tuple(index for part in parts for index in part.indices),
        questions=tuple(question for part in parts for question in part.questions),
        references=tuple(reference for part in parts for reference in part.references),
        pixels={},
    )


@dataclass
class InputBuilder:
    """Tokenises questions and cuts images into patches; picklable, for data-loader workers.

    ``cache_size`` prepared images are kept, since questions about one image stand together.
    """

    tokenizer: Any
    image_processor: Any
    format: PromptFormat
    budget: VisionBudget
    end_token: int
    context: int | None = None  # tokens of a prompt that the model was made for
    cache_size: int = 64
    _cache: "OrderedDict[tuple[ImageRef, Action], Patches]" = field(default_factory=OrderedDict)

    def build(self, samples: Sequence[tuple[int, Sample, str]], actions: Iterable[Action]) -> Batch:
        """Batch (index, sample, prompt text) triples with the images of ``actions``."""
        return Batch(
            indices=tuple(index for index, _, _ in samples),
            questions=tuple(self._question(sample, text) for _, sample, text in samples),
            references=tuple(self.encode_answer(s.answers[0]) for _, s, _ in samples),
            pixels={
                action: self._pixels([s.images for _, s, _ in samples], action)
                for action in actions
                if action is not Action.NO
            },
        )

    def _question(self, sample: Sample, text: str) -> list[int]:
        """Token ids of a prompt's text.

        Raises:
            VoVNetError: it alone is longer than the model's context.
        """
        ids = encode_user_text(self.tokenizer, text)
        if self.context is not None and len(ids) > self.context:
            raise VoVNetError(
                f"the question of sample {sample.id} has {len(ids)} tokens, this backbone reads {self.context}; "
                "shorten it or leave the row out."
            )
        return ids

    def encode_answer(self, text: str) -> list[int]:
        """Token ids of an answer, closed by the token that ends an answer."""
        return [*encode_user_text(self.tokenizer, text), self.end_token]

    def tokens(self, sample: Sample, actions: Sequence[Action]) -> list[int]:
        """Vision tokens of a sample under each action, from image headers alone."""
        sizes = [image.size() for image in sample.images]
        return [sum(self.budget.tokens(width, height, action) for width, height in sizes) for action in actions]

    def read_tokens(self, pixels: Pixels, row: int) -> int:
        """Vision tokens of one sample of a batch that enter the language model."""
        side = self.format.merge_size
        return sum(self.budget.remaining(height // side, width // side) for _, height, width in pixels.grids(row))

    def _pixels(self, per_sample: Sequence[tuple[ImageRef, ...]], action: Action) -> Pixels:
        place: dict[ImageRef, int] = {}
        images: list[Patches] = []
        rows = []
        for references in per_sample:
            row = []
            for reference in references:
                if reference not in place:
                    place[reference] = len(images)
                    images.append(self._patches(reference, action))
                row.append(place[reference])
            rows.append(tuple(row))
        return Pixels(tuple(images), tuple(rows))

    def _patches(self, reference: ImageRef, action: Action) -> Patches:
        key = (reference, action)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        patches = self.patches(reference.load(), action)
        self._cache[key] = patches
        if len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        return patches

    def patches(self, image: Any, action: Action) -> Patches:
        """Resize a PIL image to the budget, then let the model's own processor normalise and cut it."""
        width, height = image.size
        size = self.budget.target_size(width, height, action)
        if size != image.size:
            image = image.resize(size, resample=self.image_processor.resample)
        out = self.image_processor(images=[image], do_resize=False, return_tensors="pt")
        time, height, width = out["image_grid_thw"][0].tolist()
        return out["pixel_values"].to(torch.float32), (time, height, width)
