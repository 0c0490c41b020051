"""Baselines that change what FULL means: another resolution, or fewer vision tokens."""

from dataclasses import replace
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.schema import PruningBaseline, Resolution, ResolutionBaseline, RunConfig, VisionBudgetConfig

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


def pruning_of(config: RunConfig) -> "Pruning | None":
    """How vision tokens are pruned, if they are; a ratio of 1 keeps all, and is no pruning."""
    baseline = config.policy.baseline
    if not isinstance(baseline, PruningBaseline) or baseline.pruning_ratio == 1.0:
        return None
    from vovnet.backbone.pruning import Pruning

    return Pruning(baseline.pruning_mode, baseline.pruning_ratio)
