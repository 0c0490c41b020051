"""Numbers about one run: accuracy with its interval, compute."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def clustered_interval(scores: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean score when samples of one group (image) are not independent.

    Wilson's interval at the effective sample size n / design effect, the design effect being the
    ratio of the cluster-robust variance (Liang and Zeger 1986; Miller 2024, "Adding error bars to
    evals", eq. 4; with the G/(G-1) correction for few groups) to the independent one. Stays within
    [0, 1] and has width at accuracies 0 and 1. Where the data say nothing of the dependence (one
    group, or equal scores throughout) each group counts as one sample.
    """
    count = len(scores)
    if count == 0:
        return math.nan, math.nan
    scores = scores.astype(np.float64)
    mean = float(scores.mean())
    _, membership = np.unique(groups, return_inverse=True)
    distinct = int(membership.max()) + 1
    independent = float(((scores - mean) ** 2).sum())
    size = float(distinct)
    if distinct > 1 and independent > 1e-12 * count:
        sums = np.bincount(membership, weights=scores - mean)
        clustered = distinct / (distinct - 1) * float((sums**2).sum())
        effect = clustered / (count / (count - 1) * independent)
        size = max(1.0, count / max(1.0, effect))
    centre = (mean + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * math.sqrt(mean * (1 - mean) / size + Z95**2 / (4 * size**2))
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def prefill_flops(config: Mapping[str, Any], new: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Floating-point operations of the language model to read ``new`` tokens that end at ``context``.

    Two per weight and token for attention projections (grouped-query aware) and MLP, plus four per
    query-key pair and channel for causal attention, plus the output layer at the last position.
    Norms, rotary embedding and softmax are left out. The vision tower is reported as patches.

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
