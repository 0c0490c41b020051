"""What the rest of the package asks of Qwen's families before any weights are loaded; imports no torch."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.qwen.budget import VisionBudget, make_budget
from vovnet.vlm.qwen.folder import check_folder, most_pixels, sides

if TYPE_CHECKING:
    from vovnet.vlm.files import Checkpoint
    from vovnet.vlm.protocol import VLM
    from vovnet.vlm.pruning import Pruning

__all__ = ["budget", "check_folder", "found_budget", "load", "pictures", "processor_keys", "processors"]


def budget(config: VisionBudgetConfig, checkpoint: "Checkpoint", pruning: "Pruning | None" = None) -> VisionBudget:
    """The configured bounds in this checkpoint's tokens.

    Raises:
        VoVNetError: another patch size was configured, or COARSE is below one token.
    """
    return make_budget(config, *sides(checkpoint), pruning)


def found_budget(config: VisionBudgetConfig, checkpoint: "Checkpoint") -> VisionBudgetConfig:
    """The bounds with everything found that was left to be found.

    With ``auto``, FULL ends where the checkpoint's own image processor ends, and COARSE has a quarter of its side.
    """
    full, coarse = (
        replace(look, processor=None) if look.processor == "auto" else look for look in (config.full, config.coarse)
    )
    if config.auto:
        side = min(full.long_side, math.isqrt(most_pixels(checkpoint.folder) or full.max_pixels))
        full = replace(full, long_side=side, max_pixels=min(full.max_pixels, side**2))
        quarter = max(1, min(coarse.long_side, side // 4))
        coarse = replace(coarse, long_side=quarter, max_pixels=min(coarse.max_pixels, quarter**2))
    return replace(config, coarse=coarse, full=full, auto=False)


def processor_keys() -> dict[str, Any]:
    """Options under which the image processor leaves images in the size that ``budget`` gives them."""
    return {"size": {"shortest_edge": 1, "longest_edge": 10**12}}


def processors(folder: Path, model_type: str) -> tuple[Any, Any]:
    """Tokenizer and image processor; imports torch and transformers.

    Raises:
        VoVNetError: one is missing or damaged.
    """
    from vovnet.vlm.qwen.loading import load_processors

    return load_processors(folder)


def pictures(image_processor: Any) -> str:
    """Digest of a fixed picture's patches."""
    from vovnet.vlm.qwen.patches import cut_digest

    return cut_digest(image_processor)


def load(
    config: BackboneConfig,
    budget: VisionBudgetConfig,
    cache_reuse: bool,
    pruning: "Pruning | None",
    checkpoint: "Checkpoint",
) -> "VLM":
    """The model by its fast path."""
    from vovnet.vlm.qwen.loading import load_fast

    return load_fast(config, budget, cache_reuse, pruning, checkpoint)
