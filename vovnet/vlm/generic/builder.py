"""From samples to prompts with their images, on the CPU and in worker processes: no weights are needed here."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vovnet.actions import Action
from vovnet.data import ImageRef, Item, Sample
from vovnet.data.decoding import resized
from vovnet.errors import VoVNetError
from vovnet.vlm.files import ORIGIN_FILE, PATTERNS
from vovnet.vlm.generic.prompts import Piece, Prompt, Prompter
from vovnet.vlm.kept import Kept
from vovnet.vlm.protocol import Batch, Each
from vovnet.vlm.tokens import encode_user_texts
from vovnet.vlm.weights import GENERATION_CONFIG, INDEX

Images = tuple[ImageRef, ...]
OF_WEIGHTS = ("config.json", GENERATION_CONFIG, INDEX, ORIGIN_FILE)  # which are written with the weights


@dataclass(frozen=True)
class Shown:
    """A batch's prompts with the images of one action."""

    prompts: tuple[Prompt, ...]

    def pin_memory(self) -> "Shown":
        """The same with images in memory from which a GPU can copy by itself; those that prompts share, once."""
        pinned: dict[int, Any] = {}
        for prompt in self.prompts:
            for tensor in prompt.images.values():
                if id(tensor) not in pinned:
                    pinned[id(tensor)] = tensor.pin_memory()
        return Shown(tuple(replace(p, images={n: pinned[id(t)] for n, t in p.images.items()}) for p in self.prompts))


@dataclass(frozen=True)
class Opened:
    """A sample's images, opened when the first of its looks asks for them."""

    references: Images

    @cached_property
    def pictures(self) -> list[Any]:
        """In RGB."""
        return [reference.load() for reference in self.references]


@dataclass
class GenericBuilder:
    """Makes batches by a family's processor; picklable, for data-loader workers.

    Prepared images are kept: an image has several questions.
    """

    prompter: Prompter
    budget: Any
    end_token: int
    context: int | None = None  # tokens of a prompt that the model was made for
    shares_text: bool = False  # prompts with images begin with the question, in the order that was asked for
    kept: Kept[list[Piece]] = field(default_factory=lambda: Kept(2**28))  # prepared images

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.prompter.tokenizer

    @property
    def max_tokens(self) -> int:
        """Vision tokens of a maximal FULL image."""
        return int(self.budget.max_tokens)

    def build(
        self, items: Sequence[Item], actions: Iterable[Action], references: bool = True, each: Each = map
    ) -> Batch:
        """Batch (index, sample, prompt text) triples with the images of ``actions``."""
        asked = [sample.answers[0] for _, sample, _ in items] if references else []
        ids = encode_user_texts(self.tokenizer, [*(text for *_, text in items), *asked])
        batch = Batch(
            indices=tuple(index for index, _, _ in items),
            ids=tuple(sample.id for _, sample, _ in items),
            texts=tuple(text for *_, text in items),
            questions=tuple(ids[: len(items)]),
            references=tuple([*answer, self.end_token] for answer in ids[len(items) :]) or tuple([] for _ in items),
        )
        for name, length in zip(batch.ids, map(len, batch.questions), strict=True):
            self._check_length(name, length)
        return self.with_images(batch, [sample for _, sample, _ in items], actions, each)

    def with_images(
        self, batch: Batch, samples: Sequence[Sample], actions: Iterable[Action], each: Each = map
    ) -> Batch:
        """The same batch, of these samples, with the images of ``actions``."""
        visual = [action for action in actions if action is not Action.NO]
        rows = list(zip(batch.ids, batch.texts, batch.questions, samples, strict=True))
        prompts = list(each(lambda row: self._shown(row, visual), rows))
        return replace(batch, images={a: Shown(tuple(shown[a] for shown in prompts)) for a in visual})

    def prompts(self, batch: Batch, action: Action) -> tuple[Prompt, ...]:
        """Prompts of a batch under an action whose images it holds.

        Raises:
            VoVNetError: a prompt is longer than the model's context.
        """
        if action is Action.NO:
            found = tuple(map(self.alone, batch.texts, batch.questions))
        else:
            found = batch.images[action].prompts
        for name, prompt in zip(batch.ids, found, strict=True):
            self._check_length(name, len(prompt.ids))
        return found

    def tokens(self, sample: Sample, actions: Sequence[Action], whole: bool = False) -> list[int]:
        """Vision tokens of a sample under each action, from image sizes alone; no look is pruned."""
        sizes = [image.size() for image in sample.images]
        return [sum(self.budget.tokens(*size, action) for size in sizes) for action in actions]

    def forget(self) -> None:
        """Keep no prepared image."""
        self.kept.clear()

    def save(self, folder: Path) -> None:
        """Write tokenizer, chat template and processors, as their files are: what was left out of them stays."""
        source = self.budget.checkpoint.folder
        for path in sorted({path for pattern in PATTERNS for path in source.glob(pattern)}):
            if path.suffix != ".safetensors" and path.name not in OF_WEIGHTS:
                (folder / path.relative_to(source)).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / path.relative_to(source))

    def alone(self, text: str, ids: list[int]) -> Prompt:
        """The prompt of a question without images."""
        prompt = self.prompter.text(text, ids)
        shared = len(prompt.ids) - self.prompter.tail_length if self.shares_text else 0
        return replace(prompt, shared=shared)

    def _shown(self, row: tuple[str, str, list[int], Sample], actions: Sequence[Action]) -> dict[Action, Prompt]:
        """A sample's prompt under each action; its images are opened once for all of them."""
        name, text, ids, sample = row
        opened = Opened(sample.images)
        try:
            if sample.marks:
                around = sample.around_images(text)
                return {a: self.prompter.among(around, self._resized(opened, a), self.budget.keys(a)) for a in actions}
            return {action: self._prompt(text, ids, opened, action) for action in actions}
        except VoVNetError as error:
            raise VoVNetError(f"sample {name}: {error}") from error

    def _prompt(self, text: str, ids: list[int], images: "Opened", action: Action) -> Prompt:
        if self.prompter.splices(text):
            return self.prompter.shown(ids, self._pieces(images, action))
        return self.prompter.whole(text, self._resized(images, action), self.budget.keys(action))

    def _pieces(self, images: "Opened", action: Action) -> list[Piece]:
        key = (images.references, action)
        if (found := self.kept.get(key)) is None:
            found = self.prompter.pieces(self._resized(images, action), self.budget.keys(action))
            self.kept.put(key, found, sum(piece.nbytes for piece in found))
        return found

    def _resized(self, images: "Opened", action: Action) -> list[Any]:
        size, resample = self.budget.target_size, self.budget.resample
        return [resized(picture, size(*picture.size, action), resample) for picture in images.pictures]

    def _check_length(self, name: str, length: int) -> None:
        if self.context is not None and length > self.context:
            raise VoVNetError(
                f"the prompt of sample {name} has {length} tokens, this backbone reads {self.context}; "
                "lower vision_budget, or leave the row out."
            )
