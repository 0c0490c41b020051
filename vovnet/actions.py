"""The three ways of looking at an image, ordered from cheapest to dearest."""

from enum import IntEnum


class Action(IntEnum):
    """How closely a question's images are looked at; the value is its column in every table."""

    NO = 0
    COARSE = 1
    FULL = 2

    @property
    def label(self) -> str:
        """Lower-case name, as it stands in files and tables."""
        return self.name.lower()


VISUAL_ACTIONS = (Action.COARSE, Action.FULL)

# The baselines that always look in one way.
FIXED_POLICIES = {"always_full": Action.FULL, "always_coarse": Action.COARSE, "no_vision": Action.NO}

ACTION_SPACES: dict[str, tuple[Action, ...]] = {
    "ternary": (Action.NO, Action.COARSE, Action.FULL),
    "binary": (Action.NO, Action.FULL),
}
