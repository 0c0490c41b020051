"""Which model types have a fast path of their own; every other one goes the generic way."""

import importlib
from typing import Any

FAST = {"qwen2_5_vl": "vovnet.vlm.qwen.family", "qwen3_vl": "vovnet.vlm.qwen.family"}


def fast_path(model_type: str) -> Any:
    """The module that stands for a family: its checks, budget, reading and loading; None where there is none."""
    name = FAST.get(model_type)
    return None if name is None else importlib.import_module(name)
