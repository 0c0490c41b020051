"""What an image may cost where the processor decides: thumbnails, processor keys, and tokens by counting.

Tokens are what the processor makes of a blank image of the same size. Its own prediction counts otherwise from family
to family, and follows some of a call's options and not others.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.fingerprint import digest, recall_text, remember_text
from vovnet.schema import Resolution, VisionBudgetConfig, key_of, resolution_of
from vovnet.vlm.families import fast_path
from vovnet.vlm.sizes import inside

if TYPE_CHECKING:  # imports torch, which an evaluation of stored outcomes may do without
    from vovnet.vlm.files import Checkpoint
    from vovnet.vlm.generic.prompts import Prompter

Size = tuple[int, int]
Keys = Mapping[str, Any]
VERSION = 3  # rises when a budget is found, or a maximal image counted, in another way
# Width and height of images that are tried, in parts of the longer side: tiles are chosen by shape, so that a small
# photograph may cost as much as a large one where a small square does not.
SHAPES = ((0.75, 1.0), (1.0, 1.0), (1.0, 0.75))
MOST_SIZES = 100_000  # image sizes whose count is remembered
SMALLEST = 16  # pixels of the first side that is tried
# Options of image processors that make images cheaper: to be switched off, set to one, or divided by four.
SWITCHES = ("do_image_splitting", "crop_to_patches", "do_pan_and_scan")
COUNTS = ("max_slice_nums", "max_crops", "max_num_tiles")
AMOUNTS = ("max_soft_tokens", "max_image_tokens", "max_patches")
# What a processor raises for an option that it or its text part cannot follow.
REFUSED = (ValueError, TypeError, RuntimeError, LookupError, AttributeError, ZeroDivisionError, VoVNetError)


@dataclass
class CountedBudget:
    """Sizes and processor keys of COARSE and FULL.

    Attributes:
        config: without anything left to be found.
        checkpoint: whose processor counts; loaded when it is needed.
        resample: the filter by which Pillow resizes; None for its default.
        counter: a prompter of the checkpoint that exists already.
    """

    config: VisionBudgetConfig
    checkpoint: "Checkpoint"
    resample: int | None = None
    counter: "Prompter | None" = field(default=None, repr=False)
    _counts: dict[tuple[Size, Action], int] = field(default_factory=dict, repr=False)

    @cached_property
    def _sizes(self) -> Any:
        """The budget of a family's fast path, whose sizes hold here too; None where there is none."""
        family = fast_path(self.checkpoint.model_type)
        return None if family is None else family.budget(self.config, self.checkpoint)

    @cached_property
    def prompter(self) -> "Prompter":
        """What counts; imports transformers."""
        if self.counter is None:
            from vovnet.vlm.generic.prompters import counting_prompter

            return counting_prompter(self.checkpoint)
        return self.counter

    def with_coarse(self, coarse: Resolution) -> "CountedBudget":
        """The same with another COARSE."""
        return replace(self, config=replace(self.config, coarse=coarse), counter=self.prompter, _counts={})

    def look(self, action: Action) -> Resolution:
        """The bounds under a visual action."""
        return resolution_of(action, self.config.coarse, self.config.full)

    def keys(self, action: Action) -> Keys:
        """Options of the image processor under an action."""
        family = fast_path(self.checkpoint.model_type)
        own: Keys = {} if family is None else family.processor_keys()
        return {**own, **self.look(action).keys}

    def target_size(self, width: int, height: int, action: Action) -> Size:
        """(width, height) in pixels that the processor is given, small enough for ``max_tokens``."""
        if self._sizes is not None:
            size: Size = self._sizes.target_size(width, height, action)
            return size
        size, most = (
            inside(width, height, self.config.full, self.look(action), 1),
            self.look(action).max_tokens,
        )
        while most is not None and self._count(size, action) > most:
            if min(size) == 1:
                raise VoVNetError(
                    f"{key_of(action)}.max_tokens={most} cannot be had by smaller pictures, of which this "
                    f"processor makes {self._count(size, action)} tokens at least; set "
                    f"{key_of(action)}.processor to options that make fewer."
                )
            size = max(1, size[0] * 4 // 5), max(1, size[1] * 4 // 5)
        return size

    def tokens(self, width: int, height: int, action: Action) -> int:
        """Vision tokens of an image, counted once a size."""
        return 0 if action is Action.NO else self._count(self.target_size(width, height, action), action)

    @property
    def max_tokens(self) -> int:
        """Of a maximal FULL image; remembered on disk, since counting takes seconds of imports."""
        name = "max_tokens " + digest([self.checkpoint.fingerprint, self.config.full.facts(), _versions()])
        if (known := recall_text(name)) is not None and known.isdecimal():
            return int(known)
        found = max(self.largest(Action.FULL))
        remember_text(name, str(found))
        return found

    def largest(self, action: Action) -> tuple[int, ...]:
        """Tokens of the largest image of each of ``SHAPES``."""
        side = self.config.full.long_side
        return tuple(self.tokens(round(side * width), round(side * height), action) for width, height in SHAPES)

    def saves(self) -> bool:
        """Whether COARSE costs less than FULL in every shape."""
        pairs = zip(self.largest(Action.COARSE), self.largest(Action.FULL), strict=True)
        return all(coarse < full for coarse, full in pairs)

    def check(self, look: Action) -> None:
        """Refuse a look of one's own that this way cannot take.

        Raises:
            VoVNetError: it leaves out vision tokens.
        """
        if self._sizes is not None:
            self._sizes.check(look)
        if look.pruning is not None:
            raise VoVNetError(
                f"{key_of(look)} leaves out vision tokens, which only fast paths can (Qwen3-VL, Qwen2.5-VL); name "
                "looks by long_side and processor."
            )

    def check_coarse(self) -> None:
        """Refuse a COARSE that costs as much as FULL; the verdict is remembered on disk.

        Raises:
            VoVNetError: names the options that would help.
        """
        looks = [look.facts() for look in (self.config.coarse, self.config.full)]
        name = "coarse " + digest([self.checkpoint.fingerprint, looks, _versions()])
        if (why := recall_text(name)) is None:
            why = self._why_not_coarse()
            remember_text(name, why)
        if why:
            raise VoVNetError(why)

    def _why_not_coarse(self) -> str:
        """Empty where COARSE is cheaper."""
        costs = list(zip(self.largest(Action.COARSE), self.largest(Action.FULL), strict=True))
        if any(coarse < full for coarse, full in costs):
            return ""
        coarse, full = costs[0]
        if (side := self._smaller()) is not None:
            fix = f"vision_budget.coarse.long_side={side}, or "
        else:
            helps = next(cheaper_keys(self), None)
            fix = "" if helps is None else f"vision_budget.coarse.processor={_shown(helps)}, or "
        return (
            f"COARSE costs as much as FULL with this model's processor ({coarse} tokens for a large image, FULL "
            f"{full}); set {fix}policy.action_space=binary."
        )

    def _smaller(self) -> int | None:
        """A side of COARSE's pictures that makes them cheaper than FULL; None where no picture is small enough."""
        side = self.config.coarse.long_side
        while side // 2 >= SMALLEST:
            side //= 2
            if self.with_coarse(replace(self.config.coarse, long_side=side)).saves():
                return side
        return None

    def _check_keys(self, action: Action) -> None:
        """Refuse an option that the image processor does not have.

        Raises:
            VoVNetError: names it, and those that there are.
        """
        options = self.prompter.processor.image_processor
        declared = getattr(getattr(options, "valid_kwargs", None), "__annotations__", {})
        if unknown := sorted(self.look(action).keys.keys() - declared.keys() - vars(options).keys()):
            own = ", ".join(sorted(declared or vars(options)))
            raise VoVNetError(
                f"{key_of(action)}.processor names {unknown[0]}, which the image processor of "
                f"{self.checkpoint.model_type} models does not have; it has {own}."
            )

    def _count(self, size: Size, action: Action) -> int:
        key = (size, action)
        if key not in self._counts:
            from PIL import Image

            self._check_keys(action)
            if len(self._counts) >= MOST_SIZES:
                self._counts.clear()
            self._counts[key] = self.prompter.count(Image.new("RGB", size), self.keys(action))
        return self._counts[key]


def cheaper_keys(budget: CountedBudget) -> Iterator[dict[str, Any]]:
    """Options under which COARSE costs less than FULL, one after another."""
    for keys in _candidates(budget.prompter.processor.image_processor):
        coarse = replace(budget.config.coarse, processor={**budget.config.full.keys, **keys})
        try:
            saves = budget.with_coarse(coarse).saves()
        except REFUSED:
            continue
        if saves:
            yield keys


def _candidates(options: Any) -> Iterator[dict[str, Any]]:
    yield from ({name: False} for name in SWITCHES if getattr(options, name, None) is True)
    yield from ({name: 1} for name in COUNTS if isinstance(getattr(options, name, None), int))
    for name in AMOUNTS:
        if isinstance(amount := getattr(options, name, None), int):
            yield from ({name: smaller} for smaller in (amount // 4, amount // 2, 1) if smaller)


def found_budget(config: VisionBudgetConfig, checkpoint: "Checkpoint") -> VisionBudgetConfig:
    """The bounds with everything found that was left to be found; remembered on disk."""
    asked = [{**look.facts(), "processor": look.processor} for look in (config.coarse, config.full)]
    name = "budget " + digest([checkpoint.fingerprint, asked, config.auto, _versions()])
    if (known := recall_text(name)) is not None:
        coarse, full = json.loads(known)
        return replace(config, coarse=Resolution(**coarse), full=Resolution(**full), auto=False)
    full = config.full if config.full.processor != "auto" else replace(config.full, processor=None)
    chosen = config.coarse.processor
    coarse = replace(config.coarse, processor=full.processor if chosen == "auto" else chosen)
    budget = CountedBudget(replace(config, coarse=coarse, full=full, auto=False), checkpoint)
    if config.auto:
        budget = _narrowed(budget)
    found = budget.config
    if chosen == "auto" and not budget.saves():
        keys = next(cheaper_keys(budget), None)
        if keys is not None:
            found = replace(found, coarse=replace(found.coarse, processor={**full.keys, **keys}))
    remember_text(name, json.dumps([look.facts() for look in (found.coarse, found.full)]))
    return found


def _narrowed(budget: CountedBudget) -> CountedBudget:
    """FULL's side lowered to where the processor shrinks images anyway, and COARSE to a quarter of it.

    Where even the smallest picture makes as many tokens, it is enlarged, and more pixels still show more.
    """
    config, side = budget.config, budget.config.full.long_side
    most = budget.tokens(side, side, Action.FULL)
    if budget.tokens(SMALLEST, SMALLEST, Action.FULL) < most:
        while side // 2 >= SMALLEST and budget.tokens(side // 2, side // 2, Action.FULL) == most:
            side //= 2
    full = replace(config.full, long_side=side, max_pixels=min(config.full.max_pixels, side**2))
    quarter = max(1, min(config.coarse.long_side, side // 4))
    coarse = replace(config.coarse, long_side=quarter, max_pixels=min(config.coarse.max_pixels, quarter**2))
    return CountedBudget(replace(config, coarse=coarse, full=full), budget.checkpoint, counter=budget.prompter)


def _versions() -> list[str]:
    return [str(VERSION), *(version(name) for name in ("transformers", "tokenizers", "pillow"))]


def _shown(keys: Keys) -> str:
    """As on the command line."""
    inner = ",".join(f"{name}:{json.dumps(value)}" for name, value in keys.items())
    return f"'{{{inner}}}'"
