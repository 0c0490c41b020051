"""How many questions fit into memory together: a batch is padded to its longest one."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vovnet.actions import Action
from vovnet.data import VQADataset, item
from vovnet.errors import VoVNetError
from vovnet.vlm.device import MEGABYTE, free_bytes, peak_mb, reset_peak
from vovnet.vlm.facts import token_bytes
from vovnet.vlm.protocol import VLM, Builder

log = logging.getLogger(__name__)
GB = 1e9
SHARE = {"cpu": 0.5, "cuda": 0.8}  # of the free memory that batches may take; a CPU's is other programs', too
NOTABLE = 256 * MEGABYTE  # bytes below which what a batch takes is lost in what the process takes anyway
TEMPLATE = 64  # tokens of a chat template, at most
PADDED, WASTE = 2**14, 4  # padded tokens from which a batch is cut that has so many times its prompts' own


@dataclass
class BatchLimit:
    """What a batch may hold: predicted by the model's shape, and corrected where batches have taken more.

    ``count`` prompts of at most ``longest`` tokens take ``count * (longest * token + longest**2 * pair)`` bytes, the
    latter for the mask of a padded batch.

    Attributes:
        most: padded tokens, the longest prompt times the number of prompts; ``auto``: what fits into memory.
        free: bytes, when the model is loaded.
        token, pair: bytes of a token, and of a pair of tokens in a padded batch; 0 where a server runs the model.
        scale: how many times the predicted bytes a batch has taken; 1 at least.
    """

    vlm: VLM
    dataset: VQADataset
    looks: tuple[Action, ...]
    most: int | Literal["auto"]
    free: int
    token: int
    pair: int
    scale: float = 1.0
    _exact: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, vlm: VLM, dataset: VQADataset, looks: tuple[Action, ...], most: int | Literal["auto"]) -> "BatchLimit":
        """The limit of a loaded model; there is none where a server runs it."""
        if vlm.model is None:
            return cls(vlm, dataset, looks, "auto", 1, 0, 0)
        width = vlm.model.dtype.itemsize
        token = token_bytes(vlm.model.config.get_text_config().to_dict(), width)
        return cls(vlm, dataset, looks, most, free_bytes(vlm.device), token, 1 + width)

    def refuse_alone(self, rows: Sequence[int]) -> None:
        """Look for a question that does not fit by itself, before any is answered.

        Raises:
            VoVNetError: names the sample and how long it is.
        """
        for row in rows:
            if self._fits([self._at_most(row)], share=1.0) or self._fits([length := self._length(row)], share=1.0):
                continue
            _, sample, text = item(self.dataset, row)
            size = f"sample {sample.id} alone is a prompt of {length:,} tokens ({len(text):,} characters)"
            if self.most != "auto":
                raise VoVNetError(
                    f"{size}, more than eval.batch_tokens={self.most}; raise it, or leave the row out of the data."
                )
            need, free = self._bytes(1, length) / GB, self.free / GB
            raise VoVNetError(
                f"{size}, for which about {need:.1f} GB of memory are needed and {free:.1f} GB are free; free memory, "
                f"leave the row out of the data, or set eval.batch_tokens={length} to try it."
            )

    def parts(self, rows: Sequence[int]) -> Iterator[list[int]]:
        """A batch as it is or cut, in order, where it would hold too much; a question alone is never cut."""
        if self.holds(rows):
            yield list(rows)
            return
        part: list[int] = []
        for row in rows:
            if part and not self.holds([*part, row]):
                yield part
                part = []
            part.append(row)
        yield part

    def holds(self, rows: Sequence[int]) -> bool:
        """Whether some questions may be one batch."""
        return len(rows) == 1 or self._fits(map(self._at_most, rows)) or self._fits(map(self._length, rows))

    def begin(self) -> float:
        """Before a batch is answered: what ``learn`` is to be given."""
        if not self.measures:
            return 0.0
        reset_peak(self.vlm.device)
        return peak_mb(self.vlm.device)

    @property
    def measures(self) -> bool:
        """On a CPU, whose system swaps; a GPU says itself when its memory is full, and batches are halved then."""
        return self.token > 0 and self.vlm.device.type == "cpu"

    def learn(self, rows: Sequence[int], begun: float) -> None:
        """After it: correct the prediction by what it has taken."""
        if not self.measures:
            return
        taken = (peak_mb(self.vlm.device) - begun) * MEGABYTE
        lengths = list(map(self._length, rows)) if taken > NOTABLE else []
        if lengths and (times := taken / self._bytes(len(lengths), max(lengths), scale=1.0)) > self.scale:
            self.scale = times
            log.info("a batch of %d took %.1f GB; batches are bounded by that from now on", len(rows), taken / GB)

    def _fits(self, lengths: "Sequence[int] | map[int]", share: float | None = None) -> bool:
        if not self.token:
            return True
        lengths = list(lengths)
        count, longest = len(lengths), max(lengths)
        if self.most != "auto":
            return count * longest <= self.most
        if count * longest > max(PADDED, WASTE * sum(lengths)):
            return False
        share = SHARE.get(self.vlm.device.type, SHARE["cpu"]) if share is None else share
        return self._bytes(count, longest) <= share * self.free

    def _bytes(self, count: int, longest: int, scale: float | None = None) -> float:
        padded = longest**2 * self.pair if count > 1 else 0
        return (self.scale if scale is None else scale) * count * (longest * self.token + padded)

    def _at_most(self, row: int) -> int:
        """An upper bound of a prompt's tokens that opens no image and asks no tokenizer: a byte is one at most."""
        if row in self._exact:
            return self._exact[row]
        _, sample, text = item(self.dataset, row)
        builder: Builder = self.vlm.builder
        return len(text.encode()) + TEMPLATE + len(sample.images) * builder.max_tokens

    def _length(self, row: int) -> int:
        """Tokens of a prompt under the look that has most."""
        if row not in self._exact:
            asked = item(self.dataset, row)
            builder: Builder = self.vlm.builder
            text = len(builder.build([asked], (), references=False).questions[0])
            self._exact[row] = text + TEMPLATE + max(builder.tokens(asked[1], self.looks), default=0)
        return self._exact[row]
