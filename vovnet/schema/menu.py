"""Menus: the looks that a policy chooses among, cheapest first."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, field, fields, replace
from itertools import pairwise
from typing import Annotated, Any

from pydantic import PlainValidator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from vovnet.actions import ACTION_SPACES, USUAL, Action
from vovnet.schema.backbone import Resolution, VisionBudgetConfig
from vovnet.schema.ranges import STRICT, ActionSpace, Kept, Positive

STEPS = 2  # looks of a ladder between COARSE and FULL


@dataclass(frozen=True, config=STRICT)
class OwnLook:
    """A look of one's own: what differs from FULL. At most one way of pruning, as the share of tokens that is kept."""

    long_side: Positive | None = None  # pixels
    stride: Kept | None = None
    topk_norm: Kept | None = None
    random: Kept | None = None
    pool: Kept | None = None
    merge: Kept | None = None
    # Options of the family's image processor besides FULL's, such as {do_image_splitting: false}.
    processor: dict[str, Any] | None = field(default=None, hash=False)

    @model_validator(mode="after")
    def _is_a_look(self) -> "OwnLook":
        self.action  # noqa: B018
        return self

    @property
    def action(self) -> Action:
        """The look.

        Raises:
            ValueError: it is none.
        """
        return Action.said(asdict(self))


def _look(value: Any) -> Any:
    """A usual look's name (YAML takes ``no`` for a truth value), or a look of one's own."""
    name = "no" if value is False else value
    if isinstance(name, OwnLook) or (isinstance(name, str) and name in LABELS):
        return name
    if isinstance(name, dict) and {*name} <= KEYS:
        return OwnLook(**name)
    raise PydanticCustomError(
        "look", f"a look is {', '.join(LABELS)}, or a mapping of some of {', '.join(sorted(KEYS))}"
    )


LABELS, KEYS = tuple(look.label for look in USUAL), {one.name for one in fields(OwnLook)}
MenuLook = Annotated[str | OwnLook, PlainValidator(_look)]


def menu_of(
    space: ActionSpace, looks: Sequence[str | OwnLook] | None, budget: VisionBudgetConfig
) -> tuple[Action, ...]:
    """The looks that ``policy.action_space`` or ``policy.looks`` names, cheapest first.

    A ladder has two looks between COARSE and FULL, whose long sides rise by equal factors; the rest of FULL's bounds
    holds for them too.

    Raises:
        ValueError: COARSE and FULL leave no room for a ladder.
    """
    if looks is not None:
        return tuple(look.action if isinstance(look, OwnLook) else Action.said(look) for look in looks)
    if space != "ladder":
        return ACTION_SPACES[space]
    return finer(ACTION_SPACES["ternary"], budget, STEPS)


def finer(menu: Sequence[Action], budget: VisionBudgetConfig, count: int) -> tuple[Action, ...]:
    """A menu with ``count`` more looks between any two neighbours that differ in nothing but their long sides.

    Their long sides rise by equal factors.

    Raises:
        ValueError: two neighbours leave no room for so many, or no two differ in their long sides alone.
    """
    whole = {look: resolution_of(look, budget.coarse, budget.full) for look in menu if _is_whole(look)}
    looks = [menu[0]]
    for before, after in pairwise(menu):
        if before in whole and after in whole:
            low, high = whole[before].long_side, whole[after].long_side
            sides = [round(low * (high / low) ** (step / (count + 1))) for step in range(count + 2)]
            if len({*sides}) < len(sides):
                raise ValueError(
                    f"{count} looks do not fit between those of {low} and {high} pixels; name looks by policy.looks"
                )
            looks += [Action.of(side) for side in sides[1:-1]]
        looks.append(after)
    if len(looks) == len(menu):
        raise ValueError("no two neighbouring looks of this menu show whole images of different long sides")
    return tuple(looks)


def _is_whole(look: Action) -> bool:
    return look != Action.NO and not look.pruning and not look.processor


def resolution_of(look: Action, coarse: Resolution, full: Resolution) -> Resolution:
    """Bounds on an image under a look that shows one: those of a look of one's own are FULL's where it says nothing."""
    if look in USUAL:
        return full if look == Action.FULL else coarse
    keys = full.processor if not look.processor else {**full.keys, **look.content["processor"]}
    return replace(full, long_side=look.long_side or full.long_side, processor=keys)


def key_of(look: Action) -> str:
    """The configuration key that sets what a look shows."""
    return f"vision_budget.{look.label}" if look in USUAL else f"policy.looks ({look.label})"


def in_order(looks: Iterable[Action], budget: VisionBudgetConfig) -> tuple[Action, ...]:
    """Looks of several menus under one budget, each once and cheapest first by what they show."""
    return tuple(sorted({*looks}, key=lambda look: (_shown(look, budget), int(look))))


def _shown(look: Action, budget: VisionBudgetConfig) -> float:
    """Pixels that a look shows at most, times the share of tokens that it keeps."""
    if look == Action.NO:
        return 0.0
    bounds = resolution_of(look, budget.coarse, budget.full)
    return min(bounds.long_side**2, bounds.max_pixels) * (look.pruning[1] if look.pruning else 1.0)


def disorder(menu: Sequence[Action], budget: VisionBudgetConfig, full_kept: float = 1.0) -> str:
    """Why looks are no menu, as a sentence without its end; empty where they are one.

    Looks are compared by the pixels that they show at most, times the share of tokens that they keep; those with bounds
    of another kind (``max_tokens``, processor options) stay where they are put.

    Args:
        full_kept: share of FULL's tokens that is kept.
    """
    if len({*menu}) < len(menu):
        return f"the menu {', '.join(look.label for look in menu)} holds a look twice"
    full, before = budget.full, None
    for look in menu:
        if look == Action.NO:
            if look != menu[0]:
                return "the look no costs nothing and stands first in a menu"
            continue
        bounds = resolution_of(look, budget.coarse, full)
        if bounds.long_side > full.long_side:
            return f"the look {look.label} is larger than FULL, whose long side has {full.long_side} pixels"
        if bounds.max_tokens != full.max_tokens or bounds.processor != full.processor:
            continue
        size = _shown(look, budget) * (full_kept if look == Action.FULL else 1.0)
        if before is not None and size < before[0]:
            return f"the look {look.label} shows less than {before[1]} before it; a menu names its cheapest look first"
        before = size, look.label
    return ""
