"""What summary.json says of a model: how it is run, and what it was found to be able to do when it was loaded."""

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

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
