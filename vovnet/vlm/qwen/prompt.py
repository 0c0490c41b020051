"""From a question to token ids and rotary positions, in any prompt order.

The chat template is rendered once (``chat_template``); a sample's own text is
tokenised by itself with special tokens disabled, so no question can forge ``<|image_pad|>`` or
close its own turn.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vovnet.schema import PromptOrder

Grid = tuple[int, int, int]
Kept = Seq[np.ndarray]  # per image, indices of its tokens in row-major order


@dataclass(frozen=True)
class Sequence:
    """One sample's prompt, ready for the language model.

    Attributes:
        ids: token ids, shape [L].
        positions: multimodal rotary positions (time, height, width), shape [3, L].
        shared: how many leading tokens equal those of the text pass and precede every image token,
            i.e. how much of the text pass's key-value cache this prompt can continue.
    """

    ids: np.ndarray
    positions: np.ndarray
    shared: int

    @property
    def next_position(self) -> int:
        """Position of the first answer token (on all three axes)."""
        return int(self.positions[0, -1]) + 1 if len(self.ids) else 0  # a prompt ends in text, its furthest token


@dataclass(frozen=True)
class PromptFormat:
    """Token ids around a question, and the ids that frame an image."""

    head: tuple[int, ...]
    tail: tuple[int, ...]
    vision_start: int
    image_pad: int
    vision_end: int
    merge_size: int
    order: PromptOrder

    def text_pass(self, question: list[int]) -> Sequence:
        """The prompt without any image: the same in every order."""
        return self._join([(*self.head, *question, *self.tail)], [], shared=0)

    def with_images(
        self, question: list[int], grids: list[Grid], kept: Kept | None = None, around: Seq[list[int]] = ()
    ) -> Sequence:
        """The prompt with images.

        Args:
            grids: (time, height, width) in patches, one per image.
            kept: which tokens of each image are there, in row-major order; None where all are.
            around: ids of the question before, between and after its images, where these stand among it. Whatever the
                order, such a prompt shares nothing with the text pass, whose marks are text.
        """
        if around:
            first, *others = [(*self.head, *around[0]), *map(tuple, around[1:])]
            return self._join([first, *others[:-1], (*others[-1], *self.tail)], grids, 0, kept)
        text, together = tuple(question), [()] * (len(grids) - 1)
        if self.order == "image_first":
            return self._join([self.head, *together, (*text, *self.tail)], grids, len(self.head), kept)
        shared = len(self.head) + len(text)
        again = text if self.order == "sandwich" else ()
        return self._join([(*self.head, *text), *together, (*again, *self.tail)], grids, shared, kept)

    def _join(self, pieces: Seq[tuple[int, ...]], grids: list[Grid], shared: int, kept: Kept | None = None) -> Sequence:
        """Concatenate text pieces; an image stands between one and the next.

        What is pruned leaves its position empty: everything else stands where it stood.
        """
        ids: list[int] = list(pieces[0])
        images: list[tuple[int, np.ndarray]] = []  # where each begins in the sequence, and its positions
        text = [(0, 0)]  # where the text after each image begins in the sequence, and at which position
        cursor = len(ids)
        for number, ((_, patch_rows, patch_columns), piece) in enumerate(zip(grids, pieces[1:], strict=True)):
            rows, columns = patch_rows // self.merge_size, patch_columns // self.merge_size
            image = _image_positions(rows, columns)
            if kept is not None:
                image = image[:, kept[number]]
            ids += [self.vision_start, *[self.image_pad] * image.shape[1], self.vision_end]
            images.append((len(ids) - 1 - image.shape[1], image + (cursor + 1)))
            cursor += 1 + max(rows, columns)  # text resumes after the longer side, not after all tokens
            text.append((len(ids) - 1, cursor))
            ids += piece
            cursor += 1 + len(piece)
        positions = np.empty((3, len(ids)), dtype=np.int64)
        for begin, position in text:
            positions[:, begin:] = np.arange(position, position + len(ids) - begin)
        for begin, image in images:
            positions[:, begin : begin + image.shape[1]] = image
        return Sequence(np.asarray(ids, dtype=np.int64), positions, shared)


def make_format(
    tokenizer: Any, around: tuple[str, str], model_config: dict[str, Any], merge_size: int, order: PromptOrder
) -> PromptFormat:
    """The frame of a question, ``around`` it as text, and the image tokens of a parsed ``config.json``, as ids."""
    head, tail = around
    return PromptFormat(
        head=tuple(tokenizer.encode(head, add_special_tokens=False)),
        tail=tuple(tokenizer.encode(tail, add_special_tokens=False)),
        vision_start=model_config["vision_start_token_id"],
        image_pad=model_config["image_token_id"],
        vision_end=model_config["vision_end_token_id"],
        merge_size=merge_size,
        order=order,
    )


@lru_cache(maxsize=256)
def _image_positions(rows: int, columns: int) -> np.ndarray:
    """M-RoPE of one image at 0: time stands still, rows and columns count (Qwen2-VL, section 2.1)."""
    row, column = np.divmod(np.arange(rows * columns, dtype=np.int64), columns)
    return np.stack([np.zeros_like(row), row, column])
