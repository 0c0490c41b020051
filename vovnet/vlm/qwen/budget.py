"""What an image costs in Qwen's families, whose tokens cover squares of pixels: known by arithmetic alone."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.schema import Resolution, VisionBudgetConfig, key_of, resolution_of
from vovnet.vlm.sizes import inside

if TYPE_CHECKING:  # imports torch, which an evaluation of stored outcomes may do without
    from vovnet.vlm.pruning import Pruning


@dataclass(frozen=True)
class VisionBudget:
    """Resolutions of COARSE and FULL for a backbone whose tokens cover ``factor`` x ``factor`` pixels.

    ``factor`` is the vision patch side times the spatial merge, e.g. 16 * 2 = 32 px for Qwen3-VL.
    """

    coarse: Resolution
    full: Resolution
    factor: int
    pruning: "Pruning | None" = None  # of a FULL image's tokens

    def target_size(self, width: int, height: int, action: Action) -> tuple[int, int]:
        """(width, height) in pixels to which an image is resized under ``action``."""
        return inside(width, height, self.full, self._bounds(action), self.factor)

    def _bounds(self, action: Action) -> Resolution:
        return self.full if action == Action.FULL else resolution_of(action, self.coarse, self.full)

    def check(self, look: Action) -> None:
        """Refuse a look of one's own that these families cannot take.

        Raises:
            VoVNetError: it has processor options, or is below one token.
        """
        _bounded(look, self._bounds(look), self.factor)

    def tokens(self, width: int, height: int, action: Action, whole: bool = False) -> int:
        """Vision tokens that enter the language model, or that are there before pruning; known before any vision
        runs."""
        if action is Action.NO:
            return 0
        target_width, target_height = self.target_size(width, height, action)
        rows, columns = target_height // self.factor, target_width // self.factor
        pruning = None if whole else self.pruning_of(action)
        return rows * columns if pruning is None else pruning.remaining(rows, columns)

    def pruning_of(self, action: Action) -> "Pruning | None":
        """How an action's images are thinned out, if they are."""
        if action == Action.FULL or action.pruning is None:
            return self.pruning if action == Action.FULL else None
        from vovnet.vlm.pruning import Pruning

        return Pruning(*action.pruning)

    @property
    def max_tokens(self) -> int:
        """Tokens of a maximal FULL image, unpruned: the unit of the normalised cost, so that lambda is
        the accuracy worth one whole image."""
        side, area = self.full.long_side // self.factor, self.full.max_pixels // self.factor**2
        return max(rows * min(side, area // rows) for rows in range(1, min(side, area) + 1))


def make_budget(
    config: VisionBudgetConfig, patch_size: int, merge_size: int, pruning: "Pruning | None" = None
) -> VisionBudget:
    """Join the configured bounds with the backbone's patch geometry.

    Raises:
        VoVNetError: the configured patch size is not the backbone's, or COARSE is below one token.
    """
    if config.patch_size is not None and config.patch_size != patch_size:
        raise VoVNetError(
            f"vision_budget.patch_size={config.patch_size}, but this backbone's vision tower cuts patches of "
            f"{patch_size} px; set vision_budget.patch_size={patch_size} or null."
        )
    factor = patch_size * merge_size
    coarse, full = _bounded(Action.COARSE, config.coarse, factor), _bounded(Action.FULL, config.full, factor)
    return VisionBudget(coarse, full, factor, pruning)


def _bounded(action: Action, look: Resolution, factor: int) -> Resolution:
    """Bounds in pixels alone.

    Raises:
        VoVNetError: options for an image processor, which this path does not ask, or less than one token.
    """
    key = key_of(action)
    if look.keys:
        raise VoVNetError(
            f"{key}.processor has no effect on Qwen3-VL and Qwen2.5-VL, whose images are resized to "
            "long_side, max_pixels and max_tokens; set those."
        )
    if look.max_tokens is not None:
        look = replace(look, max_pixels=min(look.max_pixels, look.max_tokens * factor**2), max_tokens=None)
    if look.long_side < factor or look.max_pixels < factor**2:
        raise VoVNetError(
            f"{key} allows {look.long_side} px on the long side and {look.max_pixels} pixels, but one token of this "
            f"backbone covers {factor}x{factor}; raise long_side to {factor} and max_pixels to {factor**2} at least "
            "(with resolution_scaling: policy.baseline.long_side)."
        )
    return look
