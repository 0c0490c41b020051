"""Ways of looking at a question's images: NO, COARSE, FULL, and looks of one's own."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

PruningMode = Literal["stride", "topk_norm", "random", "pool", "merge"]
Pruned = tuple[PruningMode, float]  # and the share of the vision tokens that is kept


class Action(int):
    """How closely a question's images are looked at.

    ``Action.NO``, ``COARSE`` and ``FULL`` are the numbers 0, 1 and 2, and what they show is configured
    (``vision_budget``). A look of one's own (``Action.of``) says itself what it shows. Its label follows from that and
    its number from the label, so that both are the same in every process.

    Attributes:
        label: lower-case name, as in files and tables.
        long_side: pixels; None for FULL's, and for the three usual looks.
        pruning: how vision tokens are left out; None keeps all, and for the three usual looks.
        processor: options of the image processor as JSON; empty without any.
    """

    NO: ClassVar["Action"]
    COARSE: ClassVar["Action"]
    FULL: ClassVar["Action"]
    label: str
    long_side: int | None
    pruning: Pruned | None
    processor: str

    def __new__(cls, number: int) -> "Action":
        """One of the three usual looks.

        Raises:
            ValueError: the number is none of theirs; a look of one's own is no number alone.
        """
        if number not in range(len(USUAL)):
            raise ValueError(f"{number!r} is none of NO, COARSE and FULL")
        return USUAL[number]

    @classmethod
    def of(
        cls, long_side: int | None = None, pruning: Pruned | None = None, processor: Mapping[str, Any] | None = None
    ) -> "Action":
        """A look of one's own: what differs from FULL.

        Args:
            long_side: pixels.
            pruning: mode (``PruningMode``) and share of the vision tokens that are kept.
            processor: options of the family's image processor, beside FULL's.

        Raises:
            ValueError: nothing differs.
        """
        options = json.dumps(processor, sort_keys=True) if processor else ""
        parts = [] if long_side is None else [f"side{long_side}"]
        if pruning is not None:
            share = format(Decimal(repr(float(pruning[1]))).scaleb(2).normalize(), "f").replace(".", "_")
            parts.append(f"{pruning[0]}{share}")
        if options:
            parts.append("options" + hashlib.sha256(options.encode()).hexdigest()[:8])
        if not parts:
            raise ValueError("a look of one's own needs long_side, a pruning or processor options")
        label = "_".join(parts)
        return _made(number_of(label), label, long_side, pruning and (pruning[0], float(pruning[1])), options)

    @property
    def content(self) -> Any:
        """As a configuration says it: a name, or a mapping."""
        if self in USUAL:
            return self.label
        found: dict[str, Any] = {} if self.long_side is None else {"long_side": self.long_side}
        if self.pruning is not None:
            found[self.pruning[0]] = self.pruning[1]
        return found | ({"processor": json.loads(self.processor)} if self.processor else {})

    @classmethod
    def said(cls, content: Any) -> "Action":
        """The look that ``content`` says.

        Raises:
            ValueError: it says none.
        """
        if isinstance(content, str):
            return named(content)
        content = {key: part for key, part in content.items() if part is not None}
        modes: dict[Any, float] = {key: part for key, part in content.items() if key not in ("long_side", "processor")}
        if len(modes) > 1:
            raise ValueError("a look has one way of pruning")
        return cls.of(content.get("long_side"), next(iter(modes.items()), None), content.get("processor"))

    def __repr__(self) -> str:
        return f"Action.{self.label.upper()}" if self in USUAL else f"Action.said({self.content!r})"

    __str__ = int.__repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return Action.said, (self.content,)


def _made(
    number: int, label: str, long_side: int | None = None, pruning: Pruned | None = None, processor: str = ""
) -> Action:
    made = int.__new__(Action, number)
    made.label, made.long_side, made.pruning, made.processor = label, long_side, pruning, processor
    return made


USUAL = (_made(0, "no"), _made(1, "coarse"), _made(2, "full"))
Action.NO, Action.COARSE, Action.FULL = USUAL

VISUAL_ACTIONS = (Action.COARSE, Action.FULL)

# The baselines that always look in one way.
FIXED_POLICIES = {"always_full": Action.FULL, "always_coarse": Action.COARSE, "no_vision": Action.NO}

ACTION_SPACES: dict[str, tuple[Action, ...]] = {"ternary": USUAL, "binary": (Action.NO, Action.FULL)}


def name_of(looks: Sequence[Action]) -> str:
    """What a menu of one's own is called."""
    return "-".join(look.label for look in looks)


def own_name(looks: Sequence[Action]) -> str | None:
    """``name_of`` a menu with looks of its own, None of the usual ones."""
    return None if {*looks} <= {*USUAL} else name_of(looks)


def usual_or(menu: tuple[Action, ...]) -> tuple[Action, ...]:
    """A menu with looks of its own, and for any other all three usual looks."""
    return USUAL if {*menu} <= {*USUAL} else menu


def number_of(label: str) -> int:
    """What tables of numbers hold for a look with this label."""
    usual = {look.label: int(look) for look in USUAL}
    return usual.get(label, len(USUAL) + zlib.crc32(label.encode()))


def named(label: str, looks: Sequence[Action] = USUAL) -> Action:
    """The look of some that has a label.

    Raises:
        ValueError: none has.
    """
    for look in looks:
        if look.label == label:
            return look
    raise ValueError(f"{label!r} is none of {', '.join(look.label for look in looks)}")
