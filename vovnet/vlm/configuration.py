"""What config.json may say about a model, and what it may not.

It describes sizes, and how weights are quantised (``quantised``). It neither chooses how attention is computed, which
is the user's ``backbone.attn_implementation``, nor which code or files are read.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
# Keys that make transformers run code, choose files or patch classes, beside those that choose attention.
ACTING = (*ATTENTION, "_attn_implementation_autoset", "auto_map", "transformers_weights", "fusion_config")


def model_config(folder: Path, content: Mapping[str, Any], attention: str) -> Any:
    """Transformers' configuration of a parsed config.json, without what the file may not decide.

    Args:
        attention: the user's ``backbone.attn_implementation``, which the model gets; another wish is logged.
    """
    for wished in _values(content, ATTENTION):
        if wished != attention:
            log.warning(
                "%s/config.json asks for attention by %s; backbone.attn_implementation=%s is used",
                folder,
                wished,
                attention,
            )
    from transformers import CONFIG_MAPPING

    settings = CONFIG_MAPPING[content["model_type"]].from_dict(_passive(content))
    quantised = getattr(settings, "quantization_config", None)
    if isinstance(quantised, dict) and quantised.get("quant_method") == "fp8":
        # By default the device decides: kernels that round activations on new GPUs, plain numbers elsewhere. Outcomes
        # of both would share one key in the store.
        quantised["dequantize"] = True
    return settings


def _passive(content: Any) -> Any:
    """A parsed JSON value without the keys that act, at any depth."""
    if isinstance(content, dict):
        return {key: _passive(value) for key, value in content.items() if key not in ACTING}
    return [_passive(value) for value in content] if isinstance(content, list) else content


def _values(content: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[object]:
    """What stands under some keys at any depth of objects."""
    for key, value in content.items():
        if key in keys and value is not None:
            yield value
        elif isinstance(value, Mapping):
            yield from _values(value, keys)
