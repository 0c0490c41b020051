"""Turning a prefill into an answer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vovnet.schema import EvalConfig


@dataclass(frozen=True)
class Decoding:
    """How answers are produced; the same for every policy and baseline."""

    max_new_tokens: int
    num_beams: int
    do_sample: bool
    temperature: float


def decoding_of(options: EvalConfig) -> Decoding:
    """The decoding part of the evaluation options."""
    return Decoding(options.max_new_tokens, options.num_beams, options.do_sample, options.temperature)


@dataclass(frozen=True)
class Answer:
    """A decoded answer.

    Attributes:
        text: without special tokens and outer white space.
        tokens: number of generated tokens, the end token included.
        confidence: probability that the model gives to exactly this token sequence, in [0, 1].
    """

    text: str
    tokens: int
    confidence: float


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
