"""From samples to prompts with their images, on the CPU and in worker processes: no weights are needed here."""

import shutil
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vovnet.actions import Action
from vovnet.data import ImageRef, Item, Sample
from vovnet.data.decoding import resized
from vovnet.errors import VoVNetError
from vovnet.vlm.files import ORIGIN_FILE, PATTERNS
from vovnet.vlm.generic.prompts import Piece, Prompt, Prompter
from vovnet.vlm.protocol import Batch
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


@dataclass
class GenericBuilder:
    """Makes batches by a family's processor; picklable, for data-loader workers.

    Of the prepared images the last ``cache_bytes`` are kept: an image has several questions.
    """

    prompter: Prompter
    budget: Any
    end_token: int
    context: int | None = None  # tokens of a prompt that the model was made for
    shares_text: bool = False  # prompts with images begin with the question, in the order that was asked for
    cache_bytes: int = 2**28
    _cache: "OrderedDict[tuple[Images, Action], list[Piece]]" = field(default_factory=OrderedDict)
    _cached: int = 0  # bytes

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.prompter.tokenizer

    @property
    def max_tokens(self) -> int:
        """Vision tokens of a maximal FULL image."""
        return int(self.budget.max_tokens)

    def build(self, items: Sequence[Item], actions: Iterable[Action], references: bool = True) -> Batch:
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
        return self.with_images(batch, [sample for _, sample, _ in items], actions)

    def with_images(self, batch: Batch, samples: Sequence[Sample], actions: Iterable[Action]) -> Batch:
        """The same batch, of these samples, with the images of ``actions``."""
        visual = [action for action in actions if action is not Action.NO]
        return replace(batch, images={action: self._shown(batch, samples, action) for action in visual})

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

    def tokens(self, sample: Sample, actions: Sequence[Action]) -> list[int]:
        """Vision tokens of a sample under each action, from image sizes alone."""
        sizes = [image.size() for image in sample.images]
        return [sum(self.budget.tokens(*size, action) for size in sizes) for action in actions]

    def forget(self) -> None:
        """Empty the cache of prepared images."""
        self._cache.clear()
        self._cached = 0

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

    def _shown(self, batch: Batch, samples: Sequence[Sample], action: Action) -> Shown:
        rows = zip(batch.ids, batch.texts, batch.questions, samples, strict=True)
        return Shown(tuple(self._prompt(*row, action) for row in rows))

    def _prompt(self, name: str, text: str, ids: list[int], sample: Sample, action: Action) -> Prompt:
        try:
            if self.prompter.splices(text):
                return self.prompter.shown(ids, self._pieces(sample.images, action))
            return self.prompter.whole(text, self._resized(sample.images, action), self.budget.keys(action))
        except VoVNetError as error:
            raise VoVNetError(f"sample {name}: {error}") from error

    def _pieces(self, images: Images, action: Action) -> list[Piece]:
        key = (images, action)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        found = self.prompter.pieces(self._resized(images, action), self.budget.keys(action))
        self._cache[key] = found
        self._cached += sum(piece.nbytes for piece in found)
        while self._cached > self.cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= sum(piece.nbytes for piece in oldest)
        return found

    def _resized(self, images: Images, action: Action) -> list[Any]:
        loaded = [reference.load() for reference in images]
        return [resized(one, self.budget.target_size(*one.size, action), self.budget.resample) for one in loaded]

    def _check_length(self, name: str, length: int) -> None:
        if self.context is not None and length > self.context:
            raise VoVNetError(
                f"the prompt of sample {name} has {length} tokens, this backbone reads {self.context}; "
                "lower vision_budget, or leave the row out."
            )
