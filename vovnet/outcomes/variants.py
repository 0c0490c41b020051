"""What FULL means where it is not the whole image: another resolution, or fewer vision tokens."""

from dataclasses import replace
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.schema import (
    FixedBaseline,
    PruningBaseline,
    PruningMode,
    Resolution,
    ResolutionBaseline,
    RunConfig,
    VisionBudgetConfig,
)

if TYPE_CHECKING:
    from vovnet.backbone.pruning import Pruning


def branch_budget(config: RunConfig) -> VisionBudgetConfig:
    """The budget under which branches run. Costs stay shares of the configured budget's FULL image.

    Raises:
        VoVNetError: resolution_scaling asks for more than FULL has.
    """
    budget, baseline = config.vision_budget, config.policy.baseline
    if not isinstance(baseline, ResolutionBaseline):
        return budget
    if baseline.long_side > budget.full.long_side:
        raise VoVNetError(
            f"policy.baseline.long_side={baseline.long_side} exceeds vision_budget.full.long_side="
            f"{budget.full.long_side}; choose a smaller side."
        )
    scaled = Resolution(baseline.long_side, budget.full.max_pixels)
    coarse = Resolution(min(budget.coarse.long_side, scaled.long_side), budget.coarse.max_pixels)
    return replace(budget, full=scaled, coarse=coarse)


def full_pruning(config: RunConfig) -> tuple[PruningMode, float] | None:
    """Mode and ratio by which FULL is pruned, if it is; a ratio of 1 keeps all, and is no pruning."""
    policy, baseline = config.policy, config.policy.baseline
    if isinstance(baseline, FixedBaseline | ResolutionBaseline):  # whole looks, which others are held against
        return None
    mode, ratio = policy.full_pruning_mode, policy.full_pruning_ratio
    if isinstance(baseline, PruningBaseline):
        mode, ratio = baseline.pruning_mode, baseline.pruning_ratio
    return None if ratio == 1.0 else (mode, ratio)


def pruning_of(config: RunConfig) -> "Pruning | None":
    """The same for the backbone; imports torch."""
    asked = full_pruning(config)
    if asked is None:
        return None
    from vovnet.backbone.pruning import Pruning

    return Pruning(*asked)
