"""From a checkpoint folder to a ``VLM`` with weights in memory."""

from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.families import fast_path, is_generic
from vovnet.vlm.files import Checkpoint, find_checkpoint
from vovnet.vlm.protocol import VLM
from vovnet.vlm.pruning import Pruning


def load_backbone(
    config: BackboneConfig,
    budget: VisionBudgetConfig,
    cache_reuse: bool = True,
    pruning: Pruning | None = None,
    checkpoint: Checkpoint | None = None,
) -> VLM:
    """Load model and processor; evaluation mode, no gradients.

    Args:
        checkpoint: the configured one, where it has been found already.

    Raises:
        VoVNetError: missing or unreadable files, or a device that is not there.
    """
    checkpoint = find_checkpoint(config) if checkpoint is None else checkpoint
    if is_generic(config, checkpoint.model_type):
        from vovnet.vlm.generic.loading import load_generic

        return load_generic(config, budget, cache_reuse, pruning, checkpoint)
    family = fast_path(checkpoint.model_type)
    found: VLM = family.load(config, budget, cache_reuse, pruning, checkpoint)
    return found
