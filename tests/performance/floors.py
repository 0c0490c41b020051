"""The least a piece of work can take: its arithmetic at the measured rate, or its traffic at the measured bandwidth."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.performance.random_weights import Sizes, TextSizes

WIDTH = 2  # bytes a weight, key or value in bfloat16


@dataclass(frozen=True)
class Work:
    """Arithmetic in floating-point operations (a multiply-add is two) and memory traffic in bytes."""

    flops: float
    traffic: float

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.traffic + other.traffic)

    def times(self, count: float) -> "Work":
        """The same work done several times."""
        return Work(self.flops * count, self.traffic * count)


@dataclass(frozen=True)
class Rates:
    """What the device reaches: matrix arithmetic in FLOP/s, copying in bytes/s (read and written)."""

    flops: float
    bandwidth: float

    def floor(self, work: Work) -> float:
        """Seconds below which the work cannot be done."""
        return max(work.flops / self.flops, work.traffic / self.bandwidth)


def layer_weights(text: TextSizes) -> int:
    """Matrix weights of one layer of the language model."""
    queries, keys = text.heads * text.head_dim, text.kv_heads * text.head_dim
    return text.hidden * (2 * queries + 2 * keys) + 3 * text.hidden * text.intermediate


def language(text: TextSizes, new: Sequence[int], past: Sequence[int], causal: bool = True) -> Work:
    """The layers over ``new[i]`` tokens of sample i that follow ``past[i]`` cached ones.

    Args:
        causal: count the pairs that a token may see; otherwise every pair, as an unfused kernel computes.
    """
    weights = text.layers * layer_weights(text)
    pairs = sum(n * p + (n * (n + 1) / 2 if causal else n * n) for n, p in zip(new, past, strict=True))
    attention = 4 * text.layers * text.heads * text.head_dim * pairs
    cache = 2 * text.layers * text.kv_heads * text.head_dim * (sum(new) + sum(past))
    return Work(2 * weights * sum(new) + attention, WIDTH * (weights + cache))


def output(text: TextSizes, positions: int) -> Work:
    """The vocabulary's logits at so many positions."""
    weights = text.hidden * text.vocab
    return Work(2 * weights * positions, WIDTH * weights)


def vision(sizes: Sizes, patches: Sequence[int]) -> Work:
    """The tower and its mergers over images of so many patches each; an image sees only itself."""
    v, total = sizes.vision, sum(patches)
    embed = 3 * v.temporal * v.patch**2 * v.hidden
    blocks = v.depth * (4 * v.hidden**2 + 2 * v.hidden * v.intermediate)
    attention = 4 * v.depth * v.hidden * sum(p * p for p in patches)
    wide = v.hidden * v.merge**2
    merger = (1 + len(v.deepstack)) * (wide**2 + wide * sizes.text.hidden)
    flops = 2 * total * (embed + blocks) + attention + 2 * total / v.merge**2 * merger
    return Work(flops, WIDTH * (embed + blocks + merger))


def prefill(text: TextSizes, new: Sequence[int], past: Sequence[int]) -> Work:
    """Reading prompts, with logits at the last position of each."""
    return language(text, new, past) + output(text, len(new))


def decoding(text: TextSizes, prompt: Sequence[int], tokens: int) -> Work:
    """``tokens`` answer tokens a sample; the first comes from the prefill's logits."""
    total = Work(0, 0)
    for step in range(tokens - 1):
        total += prefill(text, [1] * len(prompt), [length + step for length in prompt])
    return total


def training_step(text: TextSizes, lengths: Sequence[int], answers: int) -> Work:
    """Forward and backward with frozen matrices: gradients of activations only, so twice the forward pass.

    Args:
        answers: positions with logits, all samples together.
    """
    return (language(text, lengths, [0] * len(lengths)) + output(text, answers)).times(2)
