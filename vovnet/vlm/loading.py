"""From a checkpoint folder to a ``VLM`` with weights in memory."""

from dataclasses import replace

from vovnet.actions import USUAL, Action
from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.agreement import known_to_agree, that_agrees
from vovnet.vlm.families import fast_path, is_generic
from vovnet.vlm.files import Checkpoint, find_checkpoint
from vovnet.vlm.imported import no_model
from vovnet.vlm.protocol import VLM
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.quantised import quantisation


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
    found = find_checkpoint(config) if checkpoint is None else checkpoint
    if found.engine is not None:
        raise no_model(config.name, found.engine)

    if config.base_url is not None:
        from vovnet.vlm.openai.loading import load_served

        return load_served(config, budget, pruning, found)

    def generic(pruned: Pruning | None = None) -> VLM:
        from vovnet.vlm.generic.loading import load_generic

        return load_generic(replace(config, implementation="generic"), budget, cache_reuse, pruned, found)

    def fast(pruned: Pruning | None = None) -> VLM:
        made: VLM = fast_path(found.model_type).load(config, budget, cache_reuse, pruned, found)
        return made

    if is_generic(config, found.model_type):
        return generic(pruning)
    quantised = quantisation(found.folder, found.config) is not None  # a second copy would be quantised anew
    if config.implementation == "qwen" or quantised:
        return fast(pruning)
    if (known := known_to_agree(config, found)) is None:
        actions = USUAL if pruning is None else (Action.NO, Action.COARSE)  # only the fast path prunes
        return that_agrees(config, found, actions, lambda: fast(pruning), generic) or generic(pruning)
    return fast(pruning) if known else generic(pruning)
