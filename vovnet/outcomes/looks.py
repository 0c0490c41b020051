"""Looks: in which form a question's image is shown to the model, if it is shown at all, and what FULL may mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vovnet.actions import USUAL, Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.store import NAME, TEXT
from vovnet.schema import (
    PruningMode,
    Resolution,
    RunConfig,
    VisionBudgetConfig,
    disorder,
    resolution_of,
)
from vovnet.vlm.budget import budget_of
from vovnet.vlm.families import fast_path, is_generic
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.generic.budget import CountedBudget

if TYPE_CHECKING:
    from vovnet.vlm.pruning import Pruning


@dataclass(frozen=True)
class Look:
    """One way of answering a question; the store holds a table of each.

    Attributes:
        name: lower-case letters, digits and underscores.
        resolution: upper bounds on the image; None shows no image.
        inside: bounds of a finer look within whose rounded size this one is fitted.
        pruning: mode and share of the vision tokens that are kept; None keeps all.

    Raises:
        VoVNetError: the name cannot be a table's.
    """

    name: str
    resolution: Resolution | None
    inside: Resolution | None = None
    pruning: tuple[PruningMode, float] | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name) or self.name == TEXT:
            raise VoVNetError(
                f"a look cannot be named {self.name!r}; use lower-case letters, digits and underscores, and another "
                f"name than {TEXT}."
            )


def looks_of(config: RunConfig, actions: Sequence[Action]) -> tuple[Look, ...]:
    """What some actions mean under a configuration."""
    budget = branch_budget(config)

    def look(action: Action) -> Look:
        if action == Action.NO:
            return Look(action.label, None)
        bounds = resolution_of(action, budget.coarse, budget.full)
        if action == Action.FULL:
            return Look(action.label, bounds, pruning=full_pruning(config))
        return Look(action.label, bounds, inside=budget.full, pruning=action.pruning)

    return tuple(map(look, actions))


def check_looks(config: RunConfig, checkpoint: Checkpoint, actions: Sequence[Action], any_price: bool = False) -> None:
    """Refuse looks that the model cannot take or that save nothing, before any weights are loaded.

    Args:
        any_price: COARSE may cost as much as FULL.

    Raises:
        VoVNetError: FULL is pruned and the model cannot prune, COARSE costs as much as FULL, or a look of one's own is
            none that the model can take, or larger than FULL.
    """
    if checkpoint.engine is not None:
        if full_pruning(config) is not None or branch_budget(config) != config.vision_budget:
            raise VoVNetError(
                f"the imported rows of {config.backbone.name} are of the looks that their engine took, which cannot be "
                "pruned or scaled here; import such a look under its own name (side448, full_merge50) and name it in "
                "policy.looks or policy/baseline=always_look."
            )
        return
    generic = is_generic(config.backbone, checkpoint.model_type)
    if Action.FULL in actions and full_pruning(config) and generic:
        raise VoVNetError(
            f"this {checkpoint.model_type} model cannot leave out vision tokens, which only fast paths can (Qwen3-VL, "
            "Qwen2.5-VL); set policy.full_pruning_ratio=1.0, or choose another policy/baseline than "
            "vision_token_pruning_proxy."
        )
    if not any_price and Action.COARSE in actions and fast_path(checkpoint.model_type) is None:
        CountedBudget(branch_budget(config), checkpoint).check_coarse()
    if own := [action for action in actions if action not in USUAL]:
        budget = branch_budget(config)
        counted = CountedBudget(budget, checkpoint) if generic else budget_of(budget, checkpoint)
        for action in own:
            counted.check(action)
        if why := disorder(actions, budget, (full_pruning(config) or ("", 1.0))[1]):
            raise VoVNetError(f"{why}.")


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
