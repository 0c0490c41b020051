"""Training batches of the tiny backbone: the batch of a step is a function of the seed and the step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from experiments.tiny_backbone.recipe import Phase, Recipe
from experiments.tiny_backbone.words import answer_word
from vovnet.actions import USUAL, Action
from vovnet.data import ImageRef, Sample, VQADataset, prompt_text
from vovnet.vlm.protocol import Batch
from vovnet.vlm.qwen.inputs import InputBuilder
from vovnet.vlm.tokens import encode_user_texts

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

    by_set: dict[str, tuple[tuple[int, ...], ...]]  # set -> image -> questions

    @classmethod
    def of(cls, dataset: VQADataset, groups: set[str], keep: Callable[[Sample], bool]) -> "Pool":
        """Group a split's questions of some images, those that ``keep`` accepts."""
        images: dict[str, dict[str, list[int]]] = {member.name: {} for member in dataset.members}
        for index in range(len(dataset)):
            sample = dataset[index]
            if sample.group in groups and keep(sample):
                name = dataset.member(index).name
                images.setdefault(name, {}).setdefault(sample.group, []).append(index)
        return cls({name: tuple(tuple(rows) for rows in some.values()) for name, some in images.items() if some})

    def draw(self, rng: np.random.Generator, count: int, per_image: int, set_weights: Mapping[str, float]) -> list[int]:
        """``count`` questions, at most ``per_image`` about one image, so that an image is encoded once."""
        names = list(self.by_set)
        sizes = [len(self.by_set[name]) for name in names]
        weights = np.array([set_weights.get(name, 0.0) for name in names] if set_weights else sizes, dtype=float)
        drawn: list[int] = []
        while len(drawn) < count:
            images = self.by_set[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
            rows = images[rng.integers(len(images))]
            size = min(per_image, len(rows), count - len(drawn))
            drawn += rng.choice(rows, size=size, replace=False).tolist()
        return drawn


@dataclass(frozen=True)
class TrainingStep:
    """What one step trains.

    Attributes:
        words: first token of each row's answer where ``words`` supervises it, else None.
    """

    batch: Batch
    action: Action
    words: tuple[int | None, ...]


class StepBatches:
    """The batches of all phases by their step."""

    def __init__(self, dataset: VQADataset, groups: set[str], builder: InputBuilder, recipe: Recipe) -> None:
        self.dataset = dataset
        self.builder = builder
        self.recipe = recipe
        asked = {phase.questions for phase in recipe.phases}
        self.pools = {name: Pool.of(dataset, groups, QUESTIONS[name]) for name in asked}

    def __len__(self) -> int:
        return sum(phase.steps for phase in self.recipe.phases)

    def __getitem__(self, step: int) -> TrainingStep:
        """The batch of a step, the branch it trains and what a middle layer has to know."""
        rng = np.random.default_rng([self.recipe.seed, step])
        phase = self._phase(step)
        weights = np.asarray(phase.branch_weights, dtype=float)
        action = Action(int(rng.choice(len(USUAL), p=weights / weights.sum())))
        pool = self.pools[phase.questions]
        rows = pool.draw(rng, self.recipe.batch_size, self.recipe.questions_per_image, phase.set_weights)
        flips = {self.dataset[row].group: int(rng.integers(len(FLIPS))) for row in rows}
        items, words = [], []
        for row in rows:
            sample, member = self.dataset[row], self.dataset.member(row)
            if member.name in self.recipe.flips:
                sample = _flipped(sample, flips)
            if self.recipe.shuffle_options and sample.options:
                sample = shuffled(sample, rng)
            items.append((row, sample, prompt_text(member, sample)))
            word = answer_word(sample, action)
            words.append(None if word is None else encode_user_texts(self.builder.tokenizer, [word])[0][0])
        return TrainingStep(self.builder.build(items, [action]), action, tuple(words))

    def _phase(self, step: int) -> Phase:
        for phase in self.recipe.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError("step beyond the last phase")


def _is_open(sample: Sample) -> bool:
    return not sample.options and sample.answers[0] not in ("yes", "no")


QUESTIONS: dict[str, Callable[[Sample], bool]] = {
    "all": lambda sample: True,
    "open": _is_open,
    "text": lambda sample: sample.supercategory == "text",
}


def shuffled(sample: Sample, rng: np.random.Generator) -> Sample:
    """The same question with its options in another order, and the letter that is then right.

    Options that name images keep their places: the images' order is theirs.
    """
    if any("<image" in option for option in sample.options):
        return sample
    order = rng.permutation(len(sample.options)).tolist()
    right = order.index(ord(sample.answers[0]) - ord("A"))
    return replace(sample, options=tuple(sample.options[i] for i in order), answers=(chr(ord("A") + right),))


def _flipped(sample: Sample, flips: dict[str, int]) -> Sample:
    images = tuple(FlippedImage(i.key, i.path, flips[sample.group]) for i in sample.images)
    return replace(sample, images=images)
