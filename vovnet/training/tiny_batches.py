"""Training batches of the tiny backbone: the batch of a step is a function of the seed and the step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vovnet.actions import Action
from vovnet.backbone.inputs import Batch, InputBuilder
from vovnet.data import ImageRef, Sample, VQADataset, prompt_text
from vovnet.schema import Phase, TinyBackboneTraining

FLIPS = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)


@dataclass(frozen=True)
class FlippedImage(ImageRef):
    """An image that is mirrored on loading; every question of easy-VQA keeps its answer."""

    flip: int = 0

    def load(self) -> Image.Image:
        """The decoded image, mirrored."""
        image = ImageRef.load(self)
        method = FLIPS[self.flip]
        return image if method is None else image.transpose(method)


@dataclass(frozen=True)
class Pool:
    """The questions of some images, grouped by image."""

    by_image: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, dataset: VQADataset, groups: set[str], open_only: bool) -> "Pool":
        """Group a split's questions; ``open_only`` leaves out those answered by yes or no."""
        images: dict[str, list[int]] = {}
        for index in range(len(dataset)):
            sample = dataset[index]
            if sample.group in groups and not (open_only and sample.answers[0] in ("yes", "no")):
                images.setdefault(sample.group, []).append(index)
        return cls(tuple(tuple(rows) for rows in images.values()))

    def draw(self, rng: np.random.Generator, count: int, per_image: int) -> list[int]:
        """``count`` questions, at most ``per_image`` about one image, so that an image is encoded once."""
        drawn: list[int] = []
        while len(drawn) < count:
            rows = self.by_image[rng.integers(len(self.by_image))]
            size = min(per_image, len(rows), count - len(drawn))
            drawn += rng.choice(rows, size=size, replace=False).tolist()
        return drawn


class StepBatches:
    """An endless-looking loader over all phases; Lightning stores and restores its position."""

    def __init__(
        self, dataset: VQADataset, groups: set[str], builder: InputBuilder, recipe: TinyBackboneTraining
    ) -> None:
        self.dataset = dataset
        self.builder = builder
        self.recipe = recipe
        self.pools = {name: Pool.of(dataset, groups, name == "open") for name in ("open", "all")}
        self.position = 0

    def __len__(self) -> int:
        return sum(phase.steps for phase in self.recipe.phases)

    def __iter__(self) -> Iterator[tuple[Batch, Action]]:
        while self.position < len(self):
            self.position += 1
            yield self.batch(self.position - 1)

    def state_dict(self) -> dict[str, int]:
        """How many batches have been handed out."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many batches."""
        self.position = state["position"]

    def batch(self, step: int) -> tuple[Batch, Action]:
        """The batch of a step and the branch it trains."""
        rng = np.random.default_rng([self.recipe.seed, step])
        phase = self._phase(step)
        weights = np.asarray(phase.branch_weights, dtype=float)
        action = Action(int(rng.choice(len(Action), p=weights / weights.sum())))
        rows = self.pools[phase.questions].draw(rng, self.recipe.batch_size, self.recipe.questions_per_image)
        flips = {self.dataset[r].group: int(rng.integers(len(FLIPS))) if self.recipe.flips else 0 for r in rows}
        items = [
            (row, _flipped(self.dataset[row], flips), prompt_text(self.dataset, self.dataset[row])) for row in rows
        ]
        return self.builder.build(items, [action]), action

    def _phase(self, step: int) -> Phase:
        for phase in self.recipe.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError("step beyond the last phase")


def _flipped(sample: Sample, flips: dict[str, int]) -> Sample:
    images = tuple(FlippedImage(i.key, i.path, flips[sample.group]) for i in sample.images)
    return Sample(sample.id, sample.question, images, sample.answers, sample.group, sample.category)
