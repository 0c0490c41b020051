"""Outcomes in memory: plain columns, aligned by sample."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import Action


@dataclass(frozen=True)
class FileRows:
    """A [rows, columns] matrix somewhere in a file; in memory only while it is looked at.

    Attributes:
        offset: of the first value, bytes.
    """

    path: Path
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        mapped = np.memmap(self.path, self.dtype, "c", self.offset, self.shape)  # torch warns of "r"
        return mapped if dtype is None else mapped.astype(dtype)


class BlockRows:
    """A [N, D] matrix in row blocks that may lie in files; never joined as a whole."""

    def __init__(self, blocks: Sequence[np.ndarray | FileRows]) -> None:
        self._blocks = [block for block in blocks if len(block)]
        self._starts = np.cumsum([0, *(len(block) for block in self._blocks)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def width(self) -> int:
        """Number of columns D."""
        return int(self._blocks[0].shape[1]) if self._blocks else 0

    def blocks(self) -> Iterator[np.ndarray]:
        """The blocks in order, without a copy."""
        yield from map(np.asarray, self._blocks)

    def source(self) -> tuple[tuple[str, int, int], ...] | None:
        """File, offset and rows of each block, which tell the content: a store's file is named after its checksum.

        None where a block lies in no file.
        """
        found = [(str(b.path), b.offset, len(b)) for b in self._blocks if isinstance(b, FileRows)]
        return tuple(found) if len(found) == len(self._blocks) else None

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows as one float32 array [len(rows), D]."""
        import torch  # widens half precision four times as fast as NumPy

        out = np.empty((len(rows), self.width), dtype=np.float32)
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        for block in np.unique(owner):
            chosen = np.flatnonzero(owner == block)
            wanted, content = rows[chosen] - self._starts[block], np.asarray(self._blocks[block])
            if len(chosen) == chosen[-1] - chosen[0] + 1 and (np.diff(wanted) == 1).all():  # a stretch, as is usual
                stretch = torch.from_numpy(content[wanted[0] : wanted[-1] + 1])
                torch.from_numpy(out[chosen[0] : chosen[-1] + 1]).copy_(stretch)
            else:
                out[chosen] = content[wanted]
        return out


@dataclass(frozen=True)
class TextOutcomes:
    """What the text pass says of each sample; all [N] but ``hidden`` [N, D].

    Attributes:
        hidden: last-layer hidden state at the last token of the prompt.
        entropy: of the next-token distribution, nats.
        margin: p1 - p2 of the next-token distribution.
        text_tokens: length of the prompt without images.
    """

    hidden: BlockRows
    entropy: np.ndarray
    margin: np.ndarray
    text_tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.entropy)

    def take(self, rows: np.ndarray) -> "TextOutcomes":
        """Some samples' features."""
        hidden = BlockRows([self.hidden.take(rows)])
        return TextOutcomes(hidden, self.entropy[rows], self.margin[rows], self.text_tokens[rows])


@dataclass(frozen=True)
class BranchOutcomes:
    """What happens to each sample under one action; all [N].

    Attributes:
        prediction: the decoded answer, with any reasoning before it.
        score: correctness in [0, 1].
        parsed: whether an answer could be read from the prediction.
        refused: whether it declines to answer; its score is what the benchmark's rule gives it.
        nll: mean NLL of the reference answer, nats per token; NaN in live runs, which need none.
        confidence: probability of the predicted token sequence.
        vision_tokens: image tokens that enter the language model.
        prompt_tokens: length of the whole prompt.
        reused_tokens: prompt tokens whose keys and values came from the text pass.
        patches: patches through the vision tower.
        generated_tokens: length of the answer with its end token.
        seconds: wall time of the batch divided by its samples; of the branch when collected, of everything
            from question to answer when routed live.
    """

    prediction: np.ndarray
    score: np.ndarray
    parsed: np.ndarray
    refused: np.ndarray
    nll: np.ndarray
    confidence: np.ndarray
    vision_tokens: np.ndarray
    prompt_tokens: np.ndarray
    reused_tokens: np.ndarray
    patches: np.ndarray
    generated_tokens: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: np.ndarray) -> "BranchOutcomes":
        """Some samples' outcomes."""
        return BranchOutcomes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Outcomes:
    """Everything that decisions and results are made from, for N samples of one split."""

    text: TextOutcomes
    branches: Mapping[Action, BranchOutcomes]

    def __len__(self) -> int:
        return len(self.text)

    def stacked(self, column: str, actions: Sequence[Action]) -> np.ndarray:
        """One branch column for several actions, [N, len(actions)] as float64."""
        return np.stack([getattr(self.branches[a], column) for a in actions], axis=1).astype(np.float64)


def no_text(size: int) -> TextOutcomes:
    """Stand-in where no text pass is read: no hidden state, NaN entropy and margin, no tokens."""
    nothing = np.full(size, np.nan, dtype=np.float32)
    return TextOutcomes(BlockRows([np.zeros((size, 0), dtype=np.float32)]), nothing, nothing, np.zeros(size, np.int32))


BRANCH_COLUMNS = tuple(f.name for f in fields(BranchOutcomes))
