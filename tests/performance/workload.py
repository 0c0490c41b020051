"""What is measured: batches, questions and images of given sizes, made up on the spot."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.performance.clock import Timed, measured_rates, timed
from tests.performance.floors import Rates, Work
from tests.performance.random_weights import Sizes, random_backbone, sizes_of
from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.data import ImageRef, Item, Sample, item
from vovnet.data.sample import PlainSet
from vovnet.schema import Resolution, RunConfig, VisionBudgetConfig
from vovnet.vlm.protocol import Batch
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.qwen.model import Backbone

Side = tuple[int, int]  # width and height in pixels


@dataclass(frozen=True)
class Workload:
    """Sizes of the inputs.

    Attributes:
        questions: lengths of the questions in tokens; ``question`` is the one of everything that has an image.
        answer: tokens of a reference; ``decoded``: of an answer.
        matrix, buffer: of the measured rates: the product's side, the copied bytes.
    """

    batches: tuple[int, ...] = (1, 8, 32)
    images: tuple[Side, ...] = ((672, 672), (1344, 1008))
    questions: tuple[int, ...] = (30, 100, 500)
    question: int = 100
    answer: int = 4
    decoded: int = 32
    matrix: int = 8192
    buffer: int = 2**31
    budget: VisionBudgetConfig | None = None  # None takes the configured one


TINY = Workload(
    batches=(1, 4),
    images=((96, 96), (192, 128)),
    questions=(8, 16),
    question=12,
    answer=3,
    decoded=4,
    matrix=256,
    buffer=2**20,
    budget=VisionBudgetConfig(Resolution(64, 4096), Resolution(192, 36864), None),
)


@dataclass(frozen=True)
class Timing:
    """One measured case.

    Attributes:
        part, case: what was measured.
        batch: samples at once; ``tokens``: those that the language model reads or writes, all samples together.
        seconds: median; None where it could not be measured, and ``note`` says why.
        floor: the least it can take by the measured rates, seconds; None where none is known.
        peak: most memory held, bytes.
    """

    part: str
    case: str
    batch: int
    tokens: int
    seconds: float | None
    floor: float | None = None
    peak: int | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """As performance.json holds it."""
        reached = None if self.seconds is None or self.floor is None else round(self.floor / self.seconds, 4)
        speed = None if self.seconds is None else round(self.tokens / self.seconds, 1)
        return {**vars(self), "share_of_floor": reached, "tokens_per_second": speed}


@dataclass(frozen=True, slots=True)
class Noise(ImageRef):
    """An image of random pixels; equal keys give equal pixels."""

    width: int = 0
    height: int = 0

    def size(self) -> Side:
        """(width, height) in pixels."""
        return self.width, self.height

    def load(self) -> Image.Image:
        """Draw it."""
        rng = np.random.default_rng(zlib.crc32(self.key.encode()))
        return Image.fromarray(rng.integers(0, 256, (self.height, self.width, 3), dtype=np.uint8))


class Synthetic(PlainSet):
    """Questions of one length, each about an image of its own.

    Every digit is one token, so a question of n digits has n tokens.
    """

    def __init__(self, config: RunConfig, count: int, tokens: int, image: Side, answer: int = 4) -> None:
        self.name, self.split, self.metric, self.scorer = "synthetic", "train", "accuracy", "plain"
        self.config = replace(config.dataset, prompt_template="{question}", open_template=None)
        self.fingerprint = f"{count}-{tokens}-{image}"
        rng = np.random.default_rng(tokens)
        texts = ["".join(map(str, row)) for row in rng.integers(0, 10, (count, tokens)).tolist()]
        width, height = image
        images = [Noise(f"{width}x{height}-{n}", Path(), width, height) for n in range(count)]
        self._samples = [
            Sample(str(n), text, (images[n],), ("7" * (answer - 1),), str(n), "") for n, text in enumerate(texts)
        ]

    def items(self) -> list[Item]:
        """All questions as the model is asked them."""
        return [item(self, n) for n in range(len(self))]


@dataclass(frozen=True)
class Bench:
    """A backbone on its device, and what it is measured with."""

    config: RunConfig
    backbone: Backbone
    sizes: Sizes
    load: Workload
    rates: Rates
    rounds: int

    @property
    def tiny(self) -> bool:
        """Whether a CPU runs it in seconds."""
        return self.load is TINY

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.backbone.device

    def data(self, count: int, image: Side, tokens: int | None = None) -> Synthetic:
        """Questions about images of one size."""
        return Synthetic(self.config, count, tokens or self.load.question, image, self.load.answer)

    def batch(self, count: int, image: Side, tokens: int | None = None, actions: Sequence[Action] = ()) -> Batch:
        """A prepared batch with inputs for some actions; both visual ones if none is named."""
        return self.backbone.builder.build(self.data(count, image, tokens).items(), actions or VISUAL_ACTIONS)

    def timing(self, part: str, case: str, batch: int, tokens: int, took: Timed, work: Work | None) -> Timing:
        """A case beside its floor."""
        floor = None if work is None else self.rates.floor(work)
        return Timing(part, case, batch, tokens, took.seconds, floor, took.peak)

    def time(self, part: str, case: str, batch: int, tokens: int, call: Any, work: Work | None) -> Timing:
        """Measure a case."""
        return self.timing(part, case, batch, tokens, timed(call, self.device, self.rounds), work)

    def image_tokens(self, image: Side, action: Action) -> int:
        """Tokens of one image that enter the language model."""
        return self.backbone.builder.budget.tokens(*image, action)

    def patches(self, image: Side, action: Action) -> int:
        """Vision patches of one image."""
        width, height = self.backbone.builder.budget.target_size(*image, action)
        return width * height // self.sizes.vision.patch**2

    @contextmanager
    def cache_reuse(self, on: bool) -> Iterator[None]:
        """Vision passes that continue the text pass's cache, or not."""
        before = self.backbone.cache_reuse
        self.backbone.cache_reuse = on
        try:
            yield
        finally:
            self.backbone.cache_reuse = before

    @contextmanager
    def pruned(self, ratio: float) -> Iterator[None]:
        """Vision passes that keep a share of the tokens."""
        builder = self.backbone.builder
        before = builder.budget
        builder.budget = replace(before, pruning=Pruning("stride", ratio))
        try:
            yield
        finally:
            builder.budget = before


def make_bench(config: RunConfig, tiny: bool, rounds: int) -> Bench:
    """Draw the weights and measure the device's rates."""
    sizes, load = sizes_of(config.backbone, tiny), TINY if tiny else Workload()
    backbone = random_backbone(config.backbone, load.budget or config.vision_budget, sizes)
    backbone.builder.kept.limit = 2**34  # every image is prepared once: preparation is measured by itself
    rates = measured_rates(backbone.device, backbone.model.dtype, load.matrix, load.buffer)
    return Bench(config, backbone, sizes, load, rates, rounds)
