"""A server's model behind the protocol: answers, and the likeliest first tokens where the server tells them."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import torch
from openai import APIStatusError
from torch import Tensor

from vovnet.actions import Action
from vovnet.errors import VoVNetError, first_line
from vovnet.scoring.reasoning import Reasoning
from vovnet.vlm.openai.builder import MessageBuilder
from vovnet.vlm.openai.server import Said, Server
from vovnet.vlm.protocol import VLM, Answer, Batch, Decoding, Reading


class ServedState:
    """A batch under a look, of which the server is asked when something of it is wanted.

    The server gives no hidden states: ``hidden`` is [B, 0]. ``logits`` are log-probabilities of the likeliest first
    tokens [B, K], so that entropy and margin are of these alone.
    """

    def __init__(self, vlm: "ServedVLM", batch: Batch, action: Action) -> None:
        self.vlm, self.batch, self.action = vlm, batch, action
        sent = None if action is Action.NO else batch.images[action]
        self.urls = [()] * len(batch) if sent is None else list(sent.urls)
        self.vision_tokens = np.array([0] * len(batch) if sent is None else sent.tokens, dtype=np.int64)
        self.patches = self.vision_tokens * vlm.patches_of_token
        self.reused_tokens = np.zeros(len(batch), dtype=np.int64)
        self.hidden = torch.zeros(len(batch), 0)
        self._answered: dict[int, list[Said]] = {}

    def said(self, max_tokens: int) -> list[Said]:
        """The server's answers of at most so many tokens; it is asked once."""
        if max_tokens not in self._answered:
            self._answered[max_tokens] = self.vlm.ask(self.batch, self.urls, max_tokens)
        return self._answered[max_tokens]

    @cached_property
    def logits(self) -> Tensor:
        """Float32 [B, K]; NaN where the server tells no log-probabilities."""
        if not self.vlm.top:
            return torch.full((len(self.batch), 2), math.nan)
        rows = [list(one.first) for one in self._any()]
        width = max(2, *map(len, rows))
        return torch.tensor([row + [-math.inf] * (width - len(row)) for row in rows])

    @property
    def prompt_tokens(self) -> np.ndarray:
        """As the server counts them, [B]."""
        return np.array([one.prompt_tokens for one in self._any()], dtype=np.int64)

    def split(self, groups: Sequence[Sequence[int]]) -> "list[ServedState]":
        """The samples of each group, of which the server is asked anew."""
        found = []
        for rows in groups:
            part = self.batch.select(rows)
            assert self.action is Action.NO
            found.append(ServedState(self.vlm, part, self.action))
        return found

    def _any(self) -> list[Said]:
        return next(iter(self._answered.values()), None) or self.said(1)


class ServedVLM(VLM):
    """A model that an OpenAI-compatible server runs.

    Args:
        top: likeliest tokens whose log-probabilities the server tells; 0 for none.
        concurrency: requests at once.
        patches_of_token: what the vision encoder reads for a token.
        special: texts of special tokens, which some servers leave in answers.
        checked: what asking it at first has shown.
    """

    implementation = "openai"
    cache_reuse = False
    end_tokens = ()
    hidden_tokens = frozenset()

    def __init__(
        self,
        server: Server,
        builder: MessageBuilder,
        fingerprint: str,
        reasoning: Reasoning,
        top: int,
        concurrency: int,
        patches_of_token: int,
        special: tuple[str, ...],
        checked: dict[str, Any],
    ) -> None:
        super().__init__()
        self.model = None
        self.server, self.builder, self.fingerprint, self.reasoning = server, builder, fingerprint, reasoning
        self.top, self.concurrency, self.patches_of_token, self._checked = top, concurrency, patches_of_token, checked
        self.special = special

    @property
    def capabilities(self) -> frozenset[str]:
        """Log-probabilities where the server tells them; no hidden states, NLL, reuse, pruning or training."""
        return frozenset({"batch", "logprobs"} if self.top else {"batch"})

    @property
    def checked(self) -> dict[str, Any]:
        """What asking it at first has shown."""
        return self._checked

    @property
    def device(self) -> torch.device:
        """Nothing is computed here."""
        return torch.device("cpu")

    @property
    def hidden_size(self) -> int:
        """0: a server gives no hidden states."""
        return 0

    @property
    def feature_dtype(self) -> torch.dtype:
        """Of nothing."""
        return torch.float32

    def read(self, batch: Batch, action: Action, after: ServedState | None = None) -> ServedState:
        """What the server will be asked."""
        return after if action is Action.NO and after is not None else ServedState(self, batch, action)

    def answer(self, readings: Sequence[Reading], decoding: Decoding, seed: int = 0) -> list[list[Answer]]:
        """Greedy answers.

        Raises:
            VoVNetError: the server fails, or another decoding is asked for.
        """
        if decoding.do_sample or decoding.num_beams > 1:
            raise VoVNetError("a server is asked greedily; set eval.do_sample=false and eval.num_beams=1.")
        return [list(map(self._answer, reading.state.said(decoding.max_new_tokens))) for reading in readings]

    def ask(self, batch: Batch, urls: Sequence[tuple[str, ...]], max_tokens: int) -> list[Said]:
        """Ask of every sample, several at once.

        Raises:
            VoVNetError: the server fails or refuses a request; names the sample.
        """

        def one(row: int) -> Said:
            try:
                return self.server.ask(batch.texts[row], urls[row], max_tokens, self.top)
            except APIStatusError as error:
                why = first_line(error)[:200]
                raise VoVNetError(
                    f"the server at {self.server.url} refuses sample {batch.ids[row]} ({why}); leave the row out, or "
                    "give the server what it lacks."
                ) from error

        return in_parallel(one, range(len(batch)), self.concurrency)

    def _answer(self, said: Said) -> Answer:
        text = said.text
        for token in self.special:
            text = text.replace(token, "")
        text = text.strip()
        return Answer(text, self.reasoning.answer(text, said.ended), said.tokens, math.exp(said.log_prob))


def in_parallel(work: Callable[[int], Said], rows: Sequence[int], concurrency: int) -> list[Said]:
    """Answers of some rows in order; the first error drops what has not begun."""
    pool = ThreadPoolExecutor(concurrency, "asking")
    try:
        return list(pool.map(work, rows))
    finally:
        pool.shutdown(cancel_futures=True)
