"""What the rest of the package asks of Qwen's families before any weights are loaded; imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.qwen.budget import VisionBudget, make_budget
from vovnet.vlm.qwen.folder import check_folder, sides

if TYPE_CHECKING:
    from vovnet.vlm.files import Checkpoint
    from vovnet.vlm.protocol import VLM
    from vovnet.vlm.pruning import Pruning

__all__ = ["budget", "check_folder", "load", "pictures", "processor_keys", "processors"]


def budget(config: VisionBudgetConfig, checkpoint: "Checkpoint", pruning: "Pruning | None" = None) -> VisionBudget:
    """The configured bounds in this checkpoint's tokens.

    Raises:
        VoVNetError: another patch size was configured, or COARSE is below one token.
    """
    return make_budget(config, *sides(checkpoint), pruning)


def processor_keys() -> dict[str, Any]:
    """Options under which the image processor leaves images in the size that ``budget`` gives them."""
    return {"size": {"shortest_edge": 1, "longest_edge": 10**12}}


def processors(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and image processor; imports torch and transformers.

    Raises:
        VoVNetError: one is missing or damaged.
    """
    from vovnet.vlm.qwen.processors import load_processors

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
