"""What an image may cost in a family whose processor decides: thumbnails, processor keys, and tokens by counting."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from vovnet.actions import Action
from vovnet.vlm.generic.prompts import Prompter

Size = tuple[int, int]
MOST_SIZES = 100_000  # image sizes whose count is remembered


@dataclass
class CountedBudget:
    """Sizes and processor keys of COARSE and FULL; tokens are what the processor makes of a blank image.

    Attributes:
        sizes: ``target_size(width, height, action)`` in pixels, before the processor.
        processor_keys: of each visual action.
        largest: image sizes among which the one with most tokens under FULL is the unit of cost.
    """

    sizes: Any
    processor_keys: Mapping[Action, Mapping[str, Any]]
    prompter: Prompter
    largest: tuple[Size, ...]
    _counts: dict[tuple[Size, Action], int] = field(default_factory=dict, repr=False)

    @property
    def resample(self) -> Any:
        """The filter by which Pillow resizes."""
        return getattr(self.prompter.processor.image_processor, "resample", None)

    @property
    def max_tokens(self) -> int:
        """Of a maximal FULL image."""
        return max(self.tokens(*size, Action.FULL) for size in self.largest)

    def keys(self, action: Action) -> Mapping[str, Any]:
        """Options of the image processor under an action."""
        return self.processor_keys.get(action, {})

    def target_size(self, width: int, height: int, action: Action) -> Size:
        """(width, height) in pixels that the processor is given."""
        size: Size = self.sizes.target_size(width, height, action)
        return size

    def tokens(self, width: int, height: int, action: Action) -> int:
        """Vision tokens of an image, counted once a size."""
        if action is Action.NO:
            return 0
        key = (self.target_size(width, height, action), action)
        if key not in self._counts:
            if len(self._counts) >= MOST_SIZES:
                self._counts.clear()
            self._counts[key] = self.prompter.count(Image.new("RGB", key[0]), self.keys(action))
        return self._counts[key]
