"""What FULL means where it is not the whole image: another resolution, or fewer vision tokens."""

from dataclasses import replace
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.schema import (
    PruningMode,
    RunConfig,
    VisionBudgetConfig,
)

if TYPE_CHECKING:
    from vovnet.vlm.pruning import Pruning


def branch_budget(config: RunConfig) -> VisionBudgetConfig:
    """The budget under which branches run. Costs stay shares of the configured budget's FULL image.

    Raises:
        VoVNetError: the policy's FULL asks for more than the budget's.
    """
    budget, full = config.vision_budget, config.policy.baseline.full
    if full is None or full.long_side is None:
        return budget
    if full.long_side > budget.full.long_side:
        raise VoVNetError(
            f"policy.baseline.long_side={full.long_side} exceeds vision_budget.full.long_side="
            f"{budget.full.long_side}; choose a smaller side."
        )
    scaled = replace(budget.full, long_side=full.long_side)
    coarse = replace(budget.coarse, long_side=min(budget.coarse.long_side, scaled.long_side))
    return replace(budget, full=scaled, coarse=coarse)


def full_pruning(config: RunConfig) -> tuple[PruningMode, float] | None:
    """Mode and ratio by which FULL is pruned, if it is; a ratio of 1 keeps all, and is no pruning."""
    policy, full = config.policy, config.policy.baseline.full
    asked = (policy.full_pruning_mode, policy.full_pruning_ratio) if full is None else full.pruning
    return None if asked is None or asked[1] == 1.0 else asked


def pruning_of(config: RunConfig) -> "Pruning | None":
    """The same for the backbone; imports torch."""
    asked = full_pruning(config)
    if asked is None:
        return None
    from vovnet.vlm.pruning import Pruning

    return Pruning(*asked)
