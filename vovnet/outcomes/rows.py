"""Outcomes in memory: plain columns, aligned by sample."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.scoring import Score


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
        try:
            mapped = np.memmap(self.path, self.dtype, "c", self.offset, self.shape)  # torch warns of "r"
        except FileNotFoundError as error:
            raise VoVNetError(f"the outcome file {self.path} was removed while it was in use; run again.") from error
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

    def joined(self) -> np.ndarray:
        """The whole matrix in memory, in its own type."""
        return np.concatenate(list(self.blocks())) if len(self) else np.zeros((0, 0), dtype=np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows as one float32 array [len(rows), D]."""
        import torch  # widens half precision four times as fast as NumPy

        out = np.empty((len(rows), self.width), dtype=np.float32)
        if not self._blocks:
            return out  # of a model or of rows without hidden states
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


Keep = Callable[[str, Callable[[], np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class LookState:
    """What the prefill of a look yields for a policy; all [N] but ``hidden`` [N, D]. See ``TextOutcomes``."""

    hidden: BlockRows
    entropy: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.entropy)


@dataclass(frozen=True)
class TextOutcomes:
    """What the text pass says of each sample; all [N] but ``hidden`` [N, D].

    Attributes:
        hidden: last-layer hidden state at the last token of the prompt.
        entropy: of the next-token distribution, nats.
        margin: p1 - p2 of the next-token distribution.
        text_tokens: length of the prompt without images.
        keep: gives what ``make`` gives of all these rows for a policy, by the hash of its file, and keeps it beside
            them in the store; None where they come from no store.
    """

    hidden: BlockRows
    entropy: np.ndarray
    margin: np.ndarray
    text_tokens: np.ndarray
    keep: Keep | None = None

    def __len__(self) -> int:
        return len(self.entropy)

    def take(self, rows: np.ndarray) -> "TextOutcomes":
        """Some samples' features."""
        hidden = BlockRows([self.hidden.take(rows)])
        return TextOutcomes(hidden, self.entropy[rows], self.margin[rows], self.text_tokens[rows])


@dataclass(frozen=True, kw_only=True)
class ModelOutcomes:
    """What the model did with each sample under one look; all [N] but ``hidden`` [N, D].

    Attributes:
        prediction: the decoded text, with any reasoning before the answer.
        answer: what scorers read, None where there is no answer; see ``backbone.decoding.Answer.final``.
        confidence: probability of the predicted token sequence.
        vision_tokens: image tokens that enter the language model.
        prompt_tokens: length of the whole prompt.
        reused_tokens: prompt tokens whose keys and values came from the text pass.
        patches: patches through the vision tower.
        generated_tokens: length of the answer with its end token.
        seconds: wall time of the batch divided by its samples; of the branch when collected, of everything
            from question to answer when routed live.
        nll: mean NLL of the reference answer, nats per token; None where nobody asked for it, as in live runs.
        hidden, entropy, margin: what the look's prefill yields at the last token of the prompt, as ``TextOutcomes``;
            None where no policy reads it.
    """

    prediction: np.ndarray
    answer: np.ndarray
    confidence: np.ndarray
    vision_tokens: np.ndarray
    prompt_tokens: np.ndarray
    reused_tokens: np.ndarray
    patches: np.ndarray
    generated_tokens: np.ndarray
    seconds: np.ndarray
    nll: np.ndarray | None = None
    entropy: np.ndarray | None = None
    margin: np.ndarray | None = None
    hidden: BlockRows | None = None

    def __len__(self) -> int:
        return len(self.prediction)

    def take(self, rows: np.ndarray) -> Self:
        """Some samples' outcomes, by their places [n] or a mask [N]."""
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        hidden = None if self.hidden is None else BlockRows([self.hidden.take(places)])
        return replace(self, hidden=hidden, **{name: column[rows] for name, column in self.columns().items()})

    @property
    def state(self) -> LookState:
        """What the prefill yields.

        Raises:
            VoVNetError: it was not collected.
        """
        if self.hidden is None or self.entropy is None or self.margin is None:
            raise VoVNetError("these outcomes hold no state after the look; collect them with policy=sequential.")
        return LookState(self.hidden, self.entropy, self.margin)

    def columns(self) -> dict[str, Any]:
        """The columns that there are, without ``hidden``."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "hidden"}
        return {name: column for name, column in found.items() if column is not None}

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Parts one after the other; an optional column that one of them lacks is left out."""
        known = [part.columns() for part in parts]
        common = [name for name in known[0] if all(name in one for one in known)]
        hidden = [part.hidden for part in parts if part.hidden is not None]
        return cls(
            hidden=BlockRows([b for one in hidden for b in one.blocks()]) if len(hidden) == len(parts) else None,
            **{name: np.concatenate([one[name] for one in known]) for name in common},
        )


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a scorer says of each answer, all [N].

    Attributes:
        score: correctness in [0, 1].
        parsed: whether an answer could be read from the prediction.
        refused: whether it declines to answer; its score is what the benchmark's rule gives it.
    """

    score: np.ndarray
    parsed: np.ndarray
    refused: np.ndarray


@dataclass(frozen=True, kw_only=True)
class BranchOutcomes(ModelOutcomes, Scores):
    """What the model did with each sample under one look, and its scores."""


def scores_of(judged: Sequence[Score]) -> Scores:
    """Scores as columns."""
    return Scores(
        score=np.array([one.value for one in judged], dtype=np.float64),
        parsed=np.array([one.parsed for one in judged], dtype=bool),
        refused=np.array([one.refused for one in judged], dtype=bool),
    )


def places(looks: Sequence[Action], actions: np.ndarray) -> np.ndarray:
    """Place among some looks of each of N actions, int64 [N].

    Raises:
        ValueError: one is none of them.
    """
    numbers = np.array([int(look) for look in looks], dtype=np.int64)
    order = numbers.argsort()
    found: np.ndarray = order[np.searchsorted(numbers, actions, sorter=order).clip(max=len(numbers) - 1)]
    if (numbers[found] != actions).any():
        raise ValueError(f"an action is none of {', '.join(look.label for look in looks)}")
    return found


def with_scores(model: ModelOutcomes, scores: Scores) -> BranchOutcomes:
    """What the model did, and its scores."""
    return BranchOutcomes(**{f.name: getattr(part, f.name) for part in (model, scores) for f in fields(part)})


@dataclass(frozen=True)
class Outcomes:
    """Everything that decisions and results are made from, for N samples of one split."""

    text: TextOutcomes
    branches: Mapping[Action, BranchOutcomes]

    def __len__(self) -> int:
        return len(self.text)

    def stacked(self, column: str, actions: Sequence[Action]) -> np.ndarray:
        """One branch column for several actions, [N, len(actions)] as float64.

        Raises:
            VoVNetError: a branch lacks this optional column.
        """
        found = {action: getattr(self.branches[action], column) for action in actions}
        if lacking := [action.label.upper() for action, values in found.items() if values is None]:
            raise VoVNetError(
                f"the outcomes of {lacking[0]} hold no {column}, since this backbone gives none; choose an objective "
                "or a policy that does without it."
            )
        return np.stack(list(found.values()), axis=1).astype(np.float64)


def known(values: np.ndarray, what: str, instead: str = "choose a policy that does without") -> np.ndarray:
    """Numbers that a policy is about to read.

    Raises:
        VoVNetError: imported rows came without them, or a server gives none, so that they are NaN.
    """
    if np.isnan(values).any():
        raise VoVNetError(
            f"these outcomes hold no {what}, which the policy reads; import or collect them with it, or {instead}."
        )
    return values


def no_text(size: int) -> TextOutcomes:
    """Stand-in where no text pass is read: no hidden state, NaN entropy and margin, no tokens."""
    nothing = np.full(size, np.nan, dtype=np.float32)
    return TextOutcomes(BlockRows([np.zeros((size, 0), dtype=np.float32)]), nothing, nothing, np.zeros(size, np.int32))


BRANCH_COLUMNS = tuple(f.name for f in fields(BranchOutcomes) if f.name != "hidden")
