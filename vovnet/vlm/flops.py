"""Floating-point operations of a question, from the sizes that a checkpoint's configuration names."""

from collections.abc import Mapping
from typing import Any

import numpy as np


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
