"""Norms, feed-forward parts and vision blocks through torch.compile: fewer, larger kernels for the same arithmetic."""

from typing import Any

import torch
from torch import nn

TEXT = ("RMSNorm", "MLP")  # whole layers would be compiled once each, since the cache is indexed by the layer's number


def compile_parts(model: Any) -> list[nn.Module]:
    """Let the first call of each kind of part compile it; returns the parts.

    The last bits of what they yield change, as under another attention kernel.
    """
    # All norms are one piece of code to it: shapes of three and four axes, one row or many, one token or many.
    torch._dynamo.config.recompile_limit = 64
    inner = model.model
    parts = [m for m in inner.language_model.modules() if type(m).__name__.endswith(TEXT)]
    parts += inner.visual.blocks
    for part in parts:
        part.compile()
    return parts


def uncompile(parts: list[nn.Module]) -> None:
    """Undo it."""
    for part in parts:
        part._compiled_call_impl = None
    torch._dynamo.reset()
