"""Looks: in which form a question's image is shown to the model, if it is shown at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.store import NAME, TEXT
from vovnet.outcomes.variants import branch_budget, full_pruning
from vovnet.schema import PruningMode, Resolution, RunConfig
from vovnet.vlm.families import fast_path, is_generic
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.generic.budget import CountedBudget


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


def usual_looks(config: RunConfig, actions: Sequence[Action]) -> tuple[Look, ...]:
    """What some of the three actions mean under a configuration."""
    budget = branch_budget(config)
    looks = {
        Action.NO: Look("no", None),
        Action.COARSE: Look("coarse", budget.coarse, inside=budget.full),
        Action.FULL: Look("full", budget.full, pruning=full_pruning(config)),
    }
    return tuple(looks[action] for action in actions)


def check_looks(config: RunConfig, checkpoint: Checkpoint, actions: Sequence[Action]) -> None:
    """Refuse looks that the model cannot take or that save nothing, before any weights are loaded.

    Raises:
        VoVNetError: FULL is pruned and the model cannot prune, or COARSE costs as much as FULL.
    """
    if Action.FULL in actions and full_pruning(config) and is_generic(config.backbone, checkpoint.model_type):
        raise VoVNetError(
            f"this {checkpoint.model_type} model cannot leave out vision tokens, which only fast paths can (Qwen3-VL, "
            "Qwen2.5-VL); set policy.full_pruning_ratio=1.0, or choose another policy/baseline than "
            "vision_token_pruning_proxy."
        )
    if Action.COARSE in actions and fast_path(checkpoint.model_type) is None:
        CountedBudget(branch_budget(config), checkpoint).check_coarse()
