"""The vision budget: how large an image may be under an action, and what it then costs in tokens.

Sizes are decided here, not by the image processor: processors enlarge small images to their own
minimum without a word, after which a "coarse" image is no coarser than the full one.
"""

import math
from typing import TYPE_CHECKING, Protocol

from vovnet.actions import Action
from vovnet.schema import Resolution, VisionBudgetConfig
from vovnet.vlm.families import fast_path

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
    family = fast_path(checkpoint.model_type)
    if family is not None:
        found: Budget = family.budget(config, checkpoint, pruning)
        return found
    from vovnet.vlm.generic.budget import CountedBudget

    return CountedBudget(config, checkpoint)


def max_tokens(config: VisionBudgetConfig, checkpoint: "Checkpoint") -> int:
    """Vision tokens of a maximal FULL image."""
    return budget_of(config, checkpoint).max_tokens


def inside(width: int, height: int, full: Resolution, coarse: Resolution, action: Action, unit: int) -> tuple[int, int]:
    """(width, height) in pixels under an action. COARSE is fitted inside FULL's size, so that it never costs more,
    whatever the rounding."""
    size = fit(width, height, full, unit)
    return size if action is Action.FULL else fit(*size, coarse, unit)


def fit(width: int, height: int, resolution: Resolution, factor: int) -> tuple[int, int]:
    """The largest (width, height), multiples of ``factor``, within both bounds and near the aspect ratio.

    Never enlarges an image, except up to the next multiple of ``factor`` (an image of one pixel
    still takes one token).
    """
    scale = min(
        1.0,
        resolution.long_side / max(width, height),
        math.sqrt(resolution.max_pixels / (width * height)),
    )
    limit = resolution.long_side // factor
    columns = min(limit, max(1, round(width * scale / factor)))
    rows = min(limit, max(1, round(height * scale / factor)))
    while rows * columns * factor**2 > resolution.max_pixels:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    return columns * factor, rows * factor
