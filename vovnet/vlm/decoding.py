"""Turning a prefill into an answer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vovnet.schema import EvalConfig
from vovnet.scoring.reasoning import Reasoning
from vovnet.vlm.protocol import Decoding


def decoding_of(options: EvalConfig) -> Decoding:
    """The decoding part of the evaluation options."""
    return Decoding(options.max_new_tokens, options.num_beams, options.do_sample, options.temperature)


class GenerationState:
    """Greedy or sampled answers while they are written; its tensors stay where they are, so a CUDA graph can too.

    Attributes:
        token: the last one of each row, [B].
        chosen: all of them, [B, T]; after a row's end token only end tokens.
        done: which rows have ended, [B].
        log_prob: of what was chosen up to a row's end, nats, [B].
    """

    def __init__(self, rows: int, length: int, ends: tuple[int, ...], filler: int, device: torch.device) -> None:
        self.token = torch.zeros(rows, dtype=torch.long, device=device)
        self.chosen = torch.zeros(rows, length, dtype=torch.long, device=device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)
        self.log_prob = torch.zeros(rows, device=device)
        self._step = torch.zeros(1, dtype=torch.long, device=device)
        self._ends, self._filler = torch.tensor(ends, device=device), filler

    def begin(self) -> None:
        """Forget everything."""
        for part in (self.done, self.log_prob, self._step):
            part.zero_()

    def write(self, logits: Tensor, token: Tensor) -> None:
        """Add a token [B] to every row, chosen by logits [B, V]."""
        token_log_prob = torch.log_softmax(logits, dim=-1).gather(1, token[:, None])[:, 0]
        self.log_prob += torch.where(self.done, 0.0, token_log_prob)
        self.chosen.index_copy_(1, self._step, torch.where(self.done, self._filler, token)[:, None])
        self.done |= torch.isin(token, self._ends)
        self.token.copy_(token)
        self._step += 1


def next_tokens(logits: Tensor, decoding: Decoding, generators: list[torch.Generator] | None) -> Tensor:
    """Pick one token per row from logits [B, V]: greedily, or sampled at a temperature.

    Each row draws from a generator of its own, so batch composition changes no answer.
    """
    if not decoding.do_sample or generators is None:
        return logits.argmax(dim=-1)
    probs = torch.softmax(logits.float() / decoding.temperature, dim=-1).cpu()
    drawn = [torch.multinomial(p, 1, generator=g) for p, g in zip(probs, generators, strict=True)]
    return torch.cat(drawn).to(logits.device)


def row_generators(indices: tuple[int, ...], action: int, seed: int) -> list[torch.Generator]:
    """One generator per sample, seeded by the run, the sample's index and the action."""
    generators = []
    for index in indices:
        generator = torch.Generator()
        generator.manual_seed((seed * 1_000_003 + index) * 4 + action)
        generators.append(generator)
    return generators


def distribution_stats(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy in nats and margin p1 - p2 of next-token distributions [B, V]; both [B], float32."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    probs = log_probs.exp()
    entropy = -(probs * log_probs.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
    top = probs.topk(2, dim=-1).values
    return entropy, top[:, 0] - top[:, 1]


def end_tokens(declared: int | list[int] | None, own: int) -> tuple[int, ...]:
    """Ids that end an answer: the tokenizer's own first, then those of the checkpoint's generation settings."""
    ids = declared if isinstance(declared, list) else [] if declared is None else [declared]
    return tuple(dict.fromkeys([own, *ids]))


def pad_right(answers: Sequence[list[int]], filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack answers: ids [B, T], and 1.0 where a token is real [B, T]."""
    length = max(len(answer) for answer in answers)
    ids = np.full((len(answers), length), filler, dtype=np.int64)
    real = np.zeros((len(answers), length), dtype=np.float32)
    for i, answer in enumerate(answers):
        ids[i, : len(answer)] = answer
        real[i, : len(answer)] = 1.0
    return torch.from_numpy(ids).to(device), torch.from_numpy(real).to(device)


def reasoning_of(tokenizer: Any, prompt_end: str) -> tuple[Reasoning, frozenset[int]]:
    """How the model marks its reasoning, and the special tokens that no answer shows: all others."""
    added = {token: str(one) for token, one in tokenizer.added_tokens_decoder.items()}
    reasoning = Reasoning.of(added.values(), str(tokenizer.chat_template or ""), prompt_end)
    special = (token for token, one in tokenizer.added_tokens_decoder.items() if one.special)
    return reasoning, frozenset(token for token in special if not reasoning.is_part(added[token]))
