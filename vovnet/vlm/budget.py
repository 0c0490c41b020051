"""The vision budget: how large an image may be under an action, and what it then costs in tokens.

Sizes are decided here, not by the image processor: processors enlarge small images to their own
minimum without a word, after which a "coarse" image is no coarser than the full one.
"""

from typing import TYPE_CHECKING, Protocol

from vovnet.actions import Action
from vovnet.schema import VisionBudgetConfig
from vovnet.vlm.families import fast_path
from vovnet.vlm.imported import ImportedBudget

if TYPE_CHECKING:
    from vovnet.vlm.files import Checkpoint
    from vovnet.vlm.pruning import Pruning  # imports torch, which an evaluation of stored outcomes may do without


class Budget(Protocol):
    """What a checkpoint's images may cost."""

    def target_size(self, width: int, height: int, action: Action) -> tuple[int, int]:
        """(width, height) in pixels to which an image is resized under ``action``."""
        ...

    def tokens(self, width: int, height: int, action: Action) -> int:
        """Vision tokens that enter the language model; known before any vision runs."""
        ...

    def check(self, look: Action) -> None:
        """Refuse a look of one's own that the family cannot take.

        Raises:
            VoVNetError: names what it cannot.
        """
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a maximal FULL image, unpruned: the unit of the normalised cost, so that lambda is
        the accuracy worth one whole image."""
        ...


def budget_of(config: VisionBudgetConfig, checkpoint: "Checkpoint", pruning: "Pruning | None" = None) -> Budget:
    """The configured bounds for a checkpoint's family.

    Raises:
        VoVNetError: the family cannot keep them.
    """
    if checkpoint.engine is not None:
        return ImportedBudget(config, checkpoint.config["max_vision_tokens"])
    family = fast_path(checkpoint.model_type)
    if family is not None:
        found: Budget = family.budget(config, checkpoint, pruning)
        return found
    from vovnet.vlm.generic.budget import CountedBudget

    return CountedBudget(config, checkpoint)


def max_tokens(config: VisionBudgetConfig, checkpoint: "Checkpoint") -> int:
    """Vision tokens of a maximal FULL image."""
    return budget_of(config, checkpoint).max_tokens
