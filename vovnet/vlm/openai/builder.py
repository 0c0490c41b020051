"""From samples to messages: images are resized here to each look's budget, and sent without loss."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from vovnet.actions import Action
from vovnet.data import ImageRef, Item, Sample
from vovnet.data.decoding import resized
from vovnet.errors import VoVNetError
from vovnet.vlm.generic.budget import CountedBudget
from vovnet.vlm.protocol import Batch, Each


@dataclass(frozen=True)
class Sent:
    """The images of a batch under one look, per sample as data URLs, and the tokens that the processor makes of them.

    Attributes:
        tokens: of all images of a sample.
    """

    urls: tuple[tuple[str, ...], ...]
    tokens: tuple[int, ...]

    def pin_memory(self) -> "Sent":
        """Itself: no GPU copies it."""
        return self


@dataclass
class MessageBuilder:
    """Makes batches for a server; its tokens are those of the family's own processor."""

    budget: CountedBudget

    @property
    def max_tokens(self) -> int:
        """Vision tokens of a maximal FULL image."""
        return self.budget.max_tokens

    def build(
        self, items: Sequence[Item], actions: Iterable[Action], references: bool = True, each: Each = map
    ) -> Batch:
        """Batch (index, sample, prompt text) triples; the server makes token ids, so that there are none here."""
        batch = Batch(
            indices=tuple(index for index, _, _ in items),
            ids=tuple(sample.id for _, sample, _ in items),
            texts=tuple(text for *_, text in items),
            questions=tuple([] for _ in items),
            references=tuple([] for _ in items),
        )
        return self.with_images(batch, [sample for _, sample, _ in items], actions, each)

    def with_images(
        self, batch: Batch, samples: Sequence[Sample], actions: Iterable[Action], each: Each = map
    ) -> Batch:
        """The same batch with the images of ``actions``."""
        visual = [action for action in actions if action is not Action.NO]
        if not visual:
            return batch
        if any(sample.marks for sample in samples):
            raise VoVNetError("a server is shown a question's images together; set dataset.interleave=false.")
        shown = list(each(lambda sample: self._urls(sample.images, visual), samples))
        counted = [self.tokens(sample, visual) for sample in samples]
        images = {
            action: Sent(tuple(one[action] for one in shown), tuple(one[place] for one in counted))
            for place, action in enumerate(visual)
        }
        return replace(batch, images=images)

    def tokens(self, sample: Sample, actions: Sequence[Action], whole: bool = False) -> list[int]:
        """Vision tokens of a sample under each action, from image sizes alone; no look is pruned."""
        sizes = [image.size() for image in sample.images]
        return [sum(self.budget.tokens(*size, action) for size in sizes) for action in actions]

    def forget(self) -> None:
        """Nothing is kept."""

    def save(self, folder: Path) -> None:
        """Refuse: the model is the server's.

        Raises:
            VoVNetError: always.
        """
        raise VoVNetError("a server's model cannot be saved here; copy its folder.")

    def _urls(self, references: Sequence[ImageRef], actions: Sequence[Action]) -> dict[Action, tuple[str, ...]]:
        """A sample's images under each action; each is opened once."""
        pictures = [reference.load() for reference in references]
        return {action: tuple(self.url(picture, action) for picture in pictures) for action in actions}

    def url(self, picture: Image.Image, action: Action) -> str:
        """A picture at the size that it has under an action, as a PNG."""
        small: Any = resized(picture, self.budget.target_size(*picture.size, action), self.budget.resample)
        file = io.BytesIO()
        small.save(file, "PNG", compress_level=1)
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
