"""What the rest of the package asks of a vision-language model, whatever its family."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vovnet.actions import Action
from vovnet.data import Item, Sample
from vovnet.scoring.reasoning import Reasoning

Each = Callable[..., Iterable[Any]]  # ``map``, or another that applies a function to every element, in their order


@dataclass(frozen=True)
class Decoding:
    """How answers are produced; the same for every policy and baseline."""

    max_new_tokens: int
    num_beams: int
    do_sample: bool
    temperature: float


@dataclass(frozen=True)
class Answer:
    """A decoded answer.

    Attributes:
        text: without outer white space and special tokens, except those that mark reasoning.
        final: what follows the reasoning, and is scored; None where the reasoning never ended or nothing follows it.
        tokens: number of generated tokens, the end token included.
        confidence: probability that the model gives to exactly this token sequence, in [0, 1].
    """

    text: str
    final: str | None
    tokens: int
    confidence: float


@dataclass(frozen=True)
class Batch:
    """Samples as a model takes them; prepared without weights, in loader workers.

    Attributes:
        indices: position of each sample in its dataset.
        ids: of the samples, for messages.
        texts: each sample's prompt text, without the chat template.
        questions: token ids of each sample's prompt text; an implementation says whether the template's are among them.
        references: token ids of each sample's reference answer with the end token; read by the NLL and by nothing
            else, and empty in live routing, which knows no answers.
        images: per visual action that was asked for, the samples' images in the implementation's own form.
    """

    indices: tuple[int, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    questions: tuple[list[int], ...]
    references: tuple[list[int], ...]
    images: Mapping[Action, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    def pin_memory(self) -> "Batch":
        """The same with images in memory from which a GPU can copy by itself; a data loader asks for it."""
        return replace(self, images={action: images.pin_memory() for action, images in self.images.items()})

    def select(self, rows: Sequence[int]) -> "Batch":
        """Some samples, without images."""
        return Batch(
            indices=tuple(self.indices[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            texts=tuple(self.texts[row] for row in rows),
            questions=tuple(self.questions[row] for row in rows),
            references=tuple(self.references[row] for row in rows),
        )


def join_batches(parts: Sequence[Batch]) -> Batch:
    """Samples of several batches one after another, without images."""
    return Batch(
        indices=tuple(index for part in parts for index in part.indices),
        ids=tuple(name for part in parts for name in part.ids),
        texts=tuple(text for part in parts for text in part.texts),
        questions=tuple(question for part in parts for question in part.questions),
        references=tuple(reference for part in parts for reference in part.references),
    )


class State(Protocol):
    """Prompts that the language model has read and can go on from.

    Attributes:
        hidden: last-layer hidden state at the last token, after the final norm, [B, D].
        logits: next-token logits at the last token, float32 [B, V].
        prompt_tokens: of each whole prompt, int [B].
        vision_tokens: tokens or cross-attention states of the images that the language model reads, int [B].
        patches: what the vision encoder reads, int [B].
        reused_tokens: prompt tokens that an earlier pass had read, int [B].
    """

    @property
    def hidden(self) -> Tensor:
        """[B, D]."""
        ...

    @property
    def logits(self) -> Tensor:
        """Float32 [B, V]."""
        ...

    @property
    def prompt_tokens(self) -> np.ndarray:
        """[B]."""
        ...

    @property
    def vision_tokens(self) -> np.ndarray:
        """[B]."""
        ...

    @property
    def patches(self) -> np.ndarray:
        """[B]."""
        ...

    @property
    def reused_tokens(self) -> np.ndarray:
        """[B]."""
        ...

    def split(self, groups: Sequence[Sequence[int]]) -> "list[State]":
        """The samples of each group, to be continued by themselves; itself where one group holds all in order."""
        ...


@dataclass(frozen=True)
class Reading:
    """A batch that has been read under an action; ``state`` is a ``State`` of the model that read it."""

    batch: Batch
    action: Action
    state: Any


class Builder(Protocol):
    """From samples to batches, on the CPU; picklable, and needs no weights."""

    def build(
        self, items: Sequence[Item], actions: Iterable[Action], references: bool = True, each: Each = map
    ) -> Batch:
        """Batch (index, sample, prompt text) triples with the images of ``actions``.

        Args:
            each: applies a function to the images; an executor's ``map`` prepares several at once.

        Raises:
            VoVNetError: a text is longer than the model's context.
        """
        ...

    def with_images(
        self, batch: Batch, samples: Sequence[Sample], actions: Iterable[Action], each: Each = map
    ) -> Batch:
        """The same batch, of these samples, with the images of ``actions``."""
        ...

    def tokens(self, sample: Sample, actions: Sequence[Action], whole: bool = False) -> list[int]:
        """Vision tokens of a sample under each action, from image sizes alone.

        Args:
            whole: before any are pruned.
        """
        ...

    @property
    def max_tokens(self) -> int:
        """Vision tokens of a maximal FULL image, unpruned: the unit of the normalised cost."""
        ...

    def forget(self) -> None:
        """Empty the cache of prepared images and of sizes."""
        ...

    def save(self, folder: Path) -> None:
        """Write what makes the batches beside a model's weights: tokenizer, chat template, image processor."""
        ...


class VLM(nn.Module):
    """A vision-language model with the operations that routing needs; implementations derive from it.

    Attributes:
        model: transformers' model.
        implementation: ``generic`` or the name of a family's fast path.
        builder: makes this model's batches.
        fingerprint: SHA-256 of weights and configuration.
        reasoning: how the model marks its reasoning.
        end_tokens: ids that end an answer, the tokenizer's own first.
        hidden_tokens: special tokens that no answer shows.
        cache_reuse: whether an image pass continues the text pass's cache.
        batch_invariant: no number of a question depends on the questions beside it.
        sharded: layers are spread over ranks, so that all must make the same calls.
    """

    model: Any
    implementation: str
    builder: Any
    fingerprint: str
    reasoning: Reasoning
    end_tokens: tuple[int, ...]
    hidden_tokens: frozenset[int]
    cache_reuse: bool
    batch_invariant: bool = False
    sharded: bool = False

    @property
    def capabilities(self) -> frozenset[str]:
        """Of ``hidden``, ``logprobs``, ``nll``, ``reuse``, ``prune``, ``train``, ``batch``."""
        raise NotImplementedError

    @property
    def checked(self) -> dict[str, Any]:
        """What was found exact at load, and the differences seen; empty where nothing had to be found."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        raise NotImplementedError

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""
        raise NotImplementedError

    @property
    def feature_dtype(self) -> torch.dtype:
        """How hidden states are stored: float32 for a float32 model, half precision otherwise. Live
        routing rounds through the same type, so that it decides on the very numbers replay sees."""
        return torch.float32 if self.model.dtype == torch.float32 else torch.float16

    @property
    def answers_looks_together(self) -> bool:
        """Whether a collection does well to answer all looks at a batch in one call: its rows are then padded to the
        longest look, and their caches lie in memory together."""
        return False

    def read(self, batch: Batch, action: Action, after: Any = None) -> Any:
        """Read prompts: without images under NO, with the images of ``action`` under the others.

        Args:
            after: the text pass of the same batch. NO returns it as it is; with ``cache_reuse`` an image pass continues
                it, and it stays usable.

        Returns:
            A ``State`` of the implementation's own.

        Raises:
            VoVNetError: a prompt is longer than the model's context.
        """
        raise NotImplementedError

    def answer(self, readings: Sequence[Reading], decoding: Decoding, seed: int = 0) -> list[list[Answer]]:
        """Answers that continue each reading; the readings stay as they are."""
        raise NotImplementedError

    def nll(self, state: Any, references: Sequence[list[int]]) -> Tensor:
        """Mean negative log-likelihood of each reference, nats per token, float32 [B]; ``state`` stays as it is."""
        raise NotImplementedError

    def training_nll(self, batch: Batch, action: Action) -> Tensor:
        """The same in one pass over prompt and answer, with gradients, [B]."""
        raise NotImplementedError

    def until_end(self, ids: list[int]) -> list[int]:
        """Generated ids up to and including the first end token."""
        for place, token in enumerate(ids):
            if token in self.end_tokens:
                return ids[: place + 1]
        return ids

    def answers(self, ids: Tensor, confidence: Tensor) -> list[Answer]:
        """Generated ids [B, T] as texts; ``confidence`` [B] is their probability."""
        generated = [self.until_end(row) for row in ids.tolist()]
        shown = [[token for token in row if token not in self.hidden_tokens] for row in generated]
        texts = [text.strip() for text in self.builder.tokenizer.batch_decode(shown, skip_special_tokens=False)]
        ended = [row[-1] in self.end_tokens for row in generated]
        finals = [self.reasoning.answer(text, end) for text, end in zip(texts, ended, strict=True)]
        parts = zip(texts, finals, map(len, generated), confidence.tolist(), strict=True)
        return [Answer(text, final, tokens, float(c)) for text, final, tokens, c in parts]

    def begin_training(self) -> None:
        """Called before weights change: what was recorded of them is dropped."""

    def free_memory(self) -> None:
        """Called after memory ran out: buffers of the size that did not fit are dropped."""
