"""What a model's configuration says: facts for costs, and operations of its passes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from vovnet.fingerprint import digest, recall_text, remember_text
from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.session import Session
from vovnet.vlm.families import is_generic
from vovnet.vlm.files import Checkpoint

if TYPE_CHECKING:
    from vovnet.vlm.protocol import VLM

KEPT = 8  # models of which a session keeps this


def remember_loaded(vlm: "VLM", config: BackboneConfig, checkpoint: Checkpoint) -> None:
    """Keep what loading has found, for summaries of runs that load nothing."""
    found = {
        "implementation": vlm.implementation,
        "capabilities": sorted(vlm.capabilities),
        "exact": vlm.checked,
    }
    remember_text(_name(config, checkpoint), json.dumps(found))


def vlm_facts(
    config: BackboneConfig, budget: VisionBudgetConfig, checkpoint: Checkpoint, session: Session | None = None
) -> dict[str, Any]:
    """Implementation, capabilities, what is exact, and the settings that were found or given.

    Capabilities and ``exact`` are null where this machine has never loaded the model, as after copying a store.
    """

    def look() -> dict[str, Any]:
        if checkpoint.engine is not None:
            return {"model_type": checkpoint.model_type, "engine": checkpoint.engine, "capabilities": []}
        known = recall_text(_name(config, checkpoint))
        asked = "generic" if is_generic(config, checkpoint.model_type) else "qwen"
        found = {"implementation": asked, "capabilities": None, "exact": None} if known is None else json.loads(known)
        return {
            "model_type": checkpoint.model_type,
            **found,
            "dtype": config.dtype,
            "prompt_order": config.prompt_order,
            "vision_budget": {look: getattr(budget, look).facts() for look in ("coarse", "full")},
        }

    asked = checkpoint.fingerprint, config, budget
    return (session or Session()).once("vlm facts", asked, look, KEPT)


def _name(config: BackboneConfig, checkpoint: Checkpoint) -> str:
    """All that the check at load depends on."""
    place = ("name", "packaged", "path", "adapter", "revision")  # the fingerprint says it
    how = {key: value for key, value in asdict(config).items() if key not in place}
    asked = [checkpoint.fingerprint, how, [version(name) for name in ("torch", "transformers", "tokenizers", "pillow")]]
    return "vlm " + digest(asked)


def token_bytes(sizes: Mapping[str, Any], width: int) -> int:
    """An estimate of what a token of a batch takes: keys and values of all layers, and activations of one.

    Args:
        sizes: configuration of the text model.
        width: bytes of a number.
    """
    heads = int(sizes.get("num_attention_heads") or 1)
    hidden, layers = int(sizes.get("hidden_size") or 0), int(sizes.get("num_hidden_layers") or 0)
    head = int(sizes.get("head_dim") or hidden // heads)
    cached = 2 * layers * int(sizes.get("num_key_value_heads") or heads) * head
    return (cached + 16 * hidden) * width


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
