"""Greedy, sampled and forced tokens while transformers' ``generate`` runs, as a logits processor."""

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
