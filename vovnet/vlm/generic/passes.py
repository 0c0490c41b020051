"""Single calls of transformers' ``generate`` and ``forward``: tokens written, hidden states and logits read."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Writer(LogitsProcessor):  # type: ignore[misc]
    """Chooses every row's next token, and adds up the log-probability of what is written until the row's end token.

    ``generate`` would sample all rows from one generator, so that a batch's other rows change an answer; here each row
    has its own. A row that has ended goes on with end tokens, at no cost of probability.

    Args:
        ends: ids that end an answer.
        temperature, generators: for sampling; None writes greedily.
        forced: token ids [B, T] to be written instead.
    """

    def __init__(
        self,
        ends: Tensor,
        temperature: float = 1.0,
        generators: list[torch.Generator] | None = None,
        forced: Tensor | None = None,
    ) -> None:
        self.ends, self.temperature, self.generators, self.forced = ends, temperature, generators, forced
        self.log_prob: list[Tensor] = []  # of each step's token, [B]; 0 after the end
        self.done: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores that leave the chosen token alone."""
        token = self.choose(scores)
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)

    @property
    def finished(self) -> bool:
        """Whether every row has ended."""
        return self.done is not None and bool(self.done.all())

    def choose(self, logits: Tensor) -> Tensor:
        """The next token of each row, [B], by logits [B, V]."""
        logits = logits.float()
        if self.forced is not None:
            token = self.forced[:, len(self.log_prob)]
        elif self.generators is not None:
            probs = torch.softmax(logits / self.temperature, dim=-1).cpu()
            drawn = [torch.multinomial(p, 1, generator=g) for p, g in zip(probs, self.generators, strict=True)]
            token = torch.cat(drawn).to(logits.device)
        else:
            token = logits.argmax(dim=-1)
        log_prob = torch.log_softmax(logits, dim=-1).gather(1, token[:, None])[:, 0]
        if self.done is None:
            self.done = torch.zeros_like(token, dtype=torch.bool)
        self.log_prob.append(torch.where(self.done, 0.0, log_prob))
        if self.forced is None:
            token = torch.where(self.done, self.ends[0], token)
            self.done = self.done | torch.isin(token, self.ends)
        return token


@dataclass(frozen=True)
class Seen:
    """The last columns of a call.

    Attributes:
        logits: float32 [B, T, V].
        hidden: after the final norm, as the head reads them, [B, T, D].
        cache: of everything that was read; None of ``forward``.
    """

    logits: Tensor
    hidden: Tensor
    cache: Any = None


class Passes:
    """Calls of one model.

    Args:
        model: an ``AutoModelForImageTextToText``.
        ends: ids that end an answer; the first also pads.
    """

    def __init__(self, model: Any, ends: tuple[int, ...]) -> None:
        self.model, self.ends = model, ends
        # Left over from the last call with images, and added to positions of a text that is continued.
        known = inspect.signature(model.forward).parameters
        self._keeps = "logits_to_keep" in known
        self._cache = "past_key_values" if "past_key_values" in known else "cache"  # its name from 5.24 on
        self._stateful = [module for module in model.modules() if hasattr(module, "rope_deltas")]

    def run(self, inputs: dict[str, Tensor], images: dict[str, Tensor], cache: Any = None, columns: int = 1) -> Seen:
        """Read prompts, or what follows the columns of a cache, which grows in place; with gradients by ``forward``."""
        if torch.is_grad_enabled() and cache is None:
            return self.forward(inputs, images, columns)
        with self._watched() as seen:
            out = self._generate(inputs | images, cache, 1, **(self._last(columns) if columns > 1 else {}))
        return _last(seen, columns, out[self._cache])

    def forward(self, inputs: dict[str, Tensor], images: dict[str, Tensor], columns: int) -> Seen:
        """Read whole prompts in one pass that keeps no cache."""
        self._forget()
        with self._watched() as seen:
            self.model(**inputs, **images, use_cache=False, **self._last(columns))
        return _last(seen, columns)

    def generate(self, inputs: dict[str, Tensor], cache: Any, length: int, **options: Any) -> Tensor:
        """Ids [B, T] that follow the inputs."""
        ids: Tensor = self._generate(inputs, cache, length, **options).sequences
        return ids[:, inputs["input_ids"].shape[1] :]

    def beams(self, inputs: dict[str, Tensor], length: int, beams: int) -> tuple[Tensor, Tensor]:
        """Ids [B, T] that beam search finds, and the logits of the first token of every copy, [B * beams, V]."""
        with self._watched() as seen:
            ids = self.generate(inputs, None, length, num_beams=beams)
        return ids, seen["logits"][:, -1].float()

    def _generate(self, inputs: dict[str, Tensor], cache: Any, length: int, **options: Any) -> Any:
        self._forget()
        asked = {"eos_token_id": list(self.ends), self._cache: cache} | options
        return self.model.generate(
            **inputs,
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=self.ends[0],
            return_dict_in_generate=True,
            **asked,
        )

    def _last(self, columns: int) -> dict[str, int]:
        """Spares the logits of earlier columns, where the model can."""
        return {"logits_to_keep": columns} if self._keeps else {}

    def _forget(self) -> None:
        for module in self._stateful:
            module.rope_deltas = None

    @contextmanager
    def _watched(self) -> Iterator[dict[str, Tensor]]:
        """What the head reads and the model gives in its first call."""
        seen: dict[str, Tensor] = {}

        def head(module: Any, args: tuple[Tensor]) -> None:
            seen.setdefault("hidden", args[0])

        def whole(module: Any, args: Any, out: Any) -> None:
            seen.setdefault("logits", out.logits)

        with ExitStack() as stack:
            stack.callback(self.model.get_output_embeddings().register_forward_pre_hook(head).remove)
            stack.callback(self.model.register_forward_hook(whole).remove)
            yield seen


def _last(seen: dict[str, Tensor], columns: int, cache: Any = None) -> Seen:
    """Some models give the logits of all columns, whatever was asked for."""
    return Seen(seen["logits"][:, -columns:].float(), seen["hidden"][:, -columns:], cache)
