"""Numbers about one run: accuracy with its interval, compute."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def clustered_interval(scores: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean score, where the samples of one group (image) count as one observation.

    Wilson's interval at Kish's effective number of groups n^2 / sum of m_g^2: the size that n samples amount to when
    those of a group are always right or wrong together. It is conservative where they are not. The size does not
    depend on the scores: more right answers to the same questions never lower either bound, and the interval has
    width at accuracies 0 and 1. An estimated design effect has neither property: it knows nothing of the dependence
    where all scores are equal, and little where few differ.

    Args:
        scores: in [0, 1], [N]. ``groups``: a label per sample, [N].
    """
    count = len(scores)
    if count == 0:
        return math.nan, math.nan
    mean = float(scores.mean(dtype=np.float64))
    sizes = np.unique(groups, return_counts=True)[1]
    size = count**2 / float((sizes.astype(np.float64) ** 2).sum())
    centre = (mean + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * math.sqrt(mean * (1 - mean) / size + Z95**2 / (4 * size**2))
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def prefill_flops(config: Mapping[str, Any], new: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Floating-point operations of the language model to read ``new`` tokens that end at ``context``.

    Two per weight and token for attention projections (grouped-query aware) and MLP, plus four per
    query-key pair and channel for causal attention, plus the output layer at the last position.
    Norms, rotary embedding and softmax are left out.

    Args:
        config: ``text_config`` of the checkpoint.
        new, context: tokens read now, and tokens in the sequence after it, [N].
    """
    width, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or width // heads)
    projections = width * head_dim * (2 * heads + 2 * kv_heads)
    mlp = 3 * width * int(config["intermediate_size"])
    new, context = new.astype(np.float64), context.astype(np.float64)
    pairs = new * (context - new) + new * (new + 1) / 2
    read = layers * (2 * (projections + mlp) * new + 4 * heads * head_dim * pairs)
    total: np.ndarray = read + np.where(new > 0, 2.0 * width * int(config["vocab_size"]), 0.0)
    return total


def generation_flops(config: Mapping[str, Any], prompt: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """The same for the tokens of an answer after the first, which comes out of reading the prompt.

    Args:
        prompt, generated: tokens of the prompt and of the answer with its end token, [N].
    """
    steps = np.maximum(generated.astype(np.float64) - 1, 0)
    outputs = 2.0 * int(config["hidden_size"]) * int(config["vocab_size"]) * np.maximum(steps - 1, 0)
    total: np.ndarray = prefill_flops(config, steps, prompt + steps) + outputs
    return total


def vision_flops(config: Mapping[str, Any], patches: np.ndarray) -> np.ndarray | None:
    """Of the vision tower: two per weight and patch, four per pair of patches and channel; None for a tower whose
    configuration does not say its sizes under the usual names.

    Every patch of a question is taken to attend to every other, which is too much for windowed attention and for
    several images. Projectors behind the tower are left out.

    Args:
        config: ``vision_config`` of the checkpoint.
        patches: [N].
    """

    def first(*names: str) -> float | None:
        return next((float(config[name]) for name in names if isinstance(config.get(name), (int, float))), None)

    depth, width = first("depth", "num_hidden_layers", "num_layers"), first("embed_dim", "hidden_size", "width")
    if depth is None or width is None:
        return None
    inner = first("intermediate_size") or width * (first("mlp_ratio") or 4.0)
    count = patches.astype(np.float64)
    total: np.ndarray = depth * (2 * count * (4 * width**2 + 2 * width * inner) + 4 * width * count**2)
    return total
