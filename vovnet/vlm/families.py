"""Which model types have a fast path of their own; every other one goes the generic way."""

import importlib
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.schema import BackboneConfig

FAST = {"qwen2_5_vl": "vovnet.vlm.qwen.family", "qwen3_vl": "vovnet.vlm.qwen.family"}


def is_generic(config: BackboneConfig, model_type: str) -> bool:
    """Whether the generic implementation is asked for, or is the only one for a model type.

    Raises:
        VoVNetError: a fast path is asked for that the model type does not have.
    """
    if config.base_url is not None:  # a server's model does what the family's processor does, and nothing faster
        return True
    if config.implementation == "qwen" and model_type not in FAST:
        raise VoVNetError(
            f"backbone.implementation=qwen serves {', '.join(FAST)}; this is a {model_type} model, leave it at auto."
        )
    return config.implementation == "generic" or model_type not in FAST


def fast_path(model_type: str) -> Any:
    """The module that stands for a family: its checks, budget, reading and loading; None where there is none."""
    name = FAST.get(model_type)
    return None if name is None else importlib.import_module(name)
