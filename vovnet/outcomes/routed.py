"""What was done to each sample once a policy had chosen: the common form of replay and live runs, also in a file."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import USUAL, Action
from vovnet.files import write_bytes
from vovnet.outcomes.rows import BranchOutcomes, TextOutcomes, places
from vovnet.outcomes.units import Unit, paid

TEXTS = "|texts"  # ends the name of a column of texts, which are written as JSON in UTF-8
PLAIN = ("actions", "cost", "values", "entropy", "margin", "text_tokens", "fallback", "preparing")


@dataclass(frozen=True)
class Piece:
    """Questions that were looked at in one way.

    Attributes:
        rows: places in the view, rising, [n].
        outcomes: of these, [n].
    """

    action: Action
    rows: np.ndarray
    outcomes: BranchOutcomes


@dataclass(frozen=True)
class Course:
    """What was done to the N questions of a view.

    Attributes:
        actions: the looks that were answered from, int64 [N].
        pieces: every look that was taken; each is paid for.
        values, fallback: as the policy's steps say, or None.
        menu: the looks that there were to choose among, cheapest first.
    """

    actions: np.ndarray
    pieces: Sequence[Piece]
    values: np.ndarray | None
    fallback: np.ndarray | None
    menu: tuple[Action, ...] = USUAL


@dataclass(frozen=True)
class Earlier:
    """A look before the one that was answered from; it is paid for too.

    Attributes:
        rows: places of the samples that took it, [n].
        outcomes: of these, [n].
    """

    rows: np.ndarray
    outcomes: BranchOutcomes


@dataclass(frozen=True)
class Routed:
    """One row per sample, [N] unless said otherwise.

    Attributes:
        actions: ``Action`` values that were answered from.
        chosen: the outcome of that action.
        cost: normalised cost of all looks that were taken.
        values: the policy's estimates, [N, A], or None.
        entropy, margin: of the text pass.
        text_tokens: tokens of the text pass; 0 where none was needed.
        fallback: where an uncertain NO was raised, bool; None without a fallback.
        earlier: looks before the chosen one.
        preparing: seconds of ``chosen.seconds`` that opening and resizing images took; None in replay.
        menu: the looks that there were to choose among, cheapest first.
    """

    actions: np.ndarray
    chosen: BranchOutcomes
    cost: np.ndarray
    values: np.ndarray | None
    entropy: np.ndarray
    margin: np.ndarray
    text_tokens: np.ndarray
    fallback: np.ndarray | None = None
    earlier: tuple[Earlier, ...] = ()
    preparing: np.ndarray | None = None
    menu: tuple[Action, ...] = USUAL

    @property
    def labels(self) -> np.ndarray:
        """Of the actions, [N]."""
        names: np.ndarray = np.array([look.label for look in self.menu])[places(self.menu, self.actions)]
        return names

    def rates(self, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Share of some samples by the label of what answered them: the usual looks, then the menu's others."""
        taken = self.actions[rows]
        looks = dict.fromkeys((*USUAL, *self.menu))
        return {look.label: float((taken == int(look)).mean()) for look in looks}

    def paid(self, column: str) -> np.ndarray:
        """A branch column that adds up over looks, such as tokens or patches, [N]."""
        total: np.ndarray = getattr(self.chosen, column)
        return _add_earlier(total, column, self.earlier)

    @property
    def looks(self) -> np.ndarray:
        """How many looks each sample took, one that reads no image included, [N]."""
        count = np.ones(len(self.actions), dtype=np.int64)
        for one in self.earlier:
            count[one.rows] += 1
        return count


def route(course: Course, text: TextOutcomes, unit: Unit, reads_text: bool) -> Routed:
    """What a course comes to.

    A policy that needs no text pass reads the whole prompt at once: nothing is reused, and a NO
    answer's prompt is no text pass beside it but the prompt itself.

    Args:
        unit: of the cost.
    """
    chosen, before = _joined(replace(course, pieces=[_without_state(piece) for piece in course.pieces]))
    if not reads_text:
        chosen, before = _without_reuse(chosen), [replace(one, outcomes=_without_reuse(one.outcomes)) for one in before]
    return Routed(
        menu=course.menu,
        actions=course.actions,
        chosen=chosen,
        cost=_cost(course, unit),
        values=course.values,
        entropy=text.entropy,
        margin=text.margin,
        text_tokens=text.text_tokens if reads_text else np.zeros_like(text.text_tokens),
        fallback=course.fallback,
        earlier=tuple(before),
    )


def _cost(course: Course, unit: Unit) -> np.ndarray:
    cost = np.zeros(len(course.actions))
    for piece in course.pieces:
        cost[piece.rows] += paid(unit, piece.action, piece.outcomes)
    return cost


def _add_earlier(total: np.ndarray, column: str, earlier: Sequence[Earlier]) -> np.ndarray:
    if earlier:
        total = total.astype(np.result_type(total, *(getattr(one.outcomes, column) for one in earlier)))
    for one in earlier:
        total[one.rows] += getattr(one.outcomes, column)
    return total


def _without_state(piece: Piece) -> Piece:
    """What a policy has read of a look is not needed once it has decided."""
    return replace(piece, outcomes=replace(piece.outcomes, hidden=None, entropy=None, margin=None))


def _without_reuse(outcomes: BranchOutcomes) -> BranchOutcomes:
    return replace(outcomes, reused_tokens=np.zeros_like(outcomes.reused_tokens))


def _joined(course: Course) -> tuple[BranchOutcomes, list[Earlier]]:
    """The outcomes that were answered from, in the order of the view, and the looks taken before them."""
    chosen, earlier = list[tuple[np.ndarray, BranchOutcomes]](), list[Earlier]()
    for piece in course.pieces:
        own = course.actions[piece.rows] == int(piece.action)
        if own.all():
            chosen.append((piece.rows, piece.outcomes))
            continue
        if own.any():
            chosen.append((piece.rows[own], piece.outcomes.take(own)))
        earlier.append(Earlier(piece.rows[~own], piece.outcomes.take(~own)))
    if len(chosen) == 1:
        return chosen[0][1], earlier
    order = np.argsort(np.concatenate([rows for rows, _ in chosen]))
    return BranchOutcomes.join([outcomes for _, outcomes in chosen]).take(order), earlier


def join_routed(parts: Sequence[Routed]) -> Routed:
    """Batches in order as one."""
    names = ("actions", "cost", "entropy", "margin", "text_tokens")
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    values = [p.values for p in parts if p.values is not None]
    fallback = [p.fallback for p in parts if p.fallback is not None]
    preparing = [p.preparing for p in parts if p.preparing is not None]
    starts = np.cumsum([0, *(len(p.actions) for p in parts)])
    return Routed(
        menu=parts[0].menu,
        chosen=BranchOutcomes.join([p.chosen for p in parts]),
        values=np.concatenate(values) if values else None,
        fallback=np.concatenate(fallback) if fallback else None,
        preparing=np.concatenate(preparing) if preparing else None,
        earlier=tuple(
            replace(e, rows=e.rows + start) for p, start in zip(parts, starts[:-1], strict=True) for e in p.earlier
        ),
        **columns,
    )


def write_routed(path: Path, routed: Routed, memory_mb: float) -> None:
    """Write a file that holds arrays only; hidden states stay behind."""
    found = {name: getattr(routed, name) for name in PLAIN} | {
        "memory_mb": np.array(memory_mb),
        "menu": np.array([look.content for look in routed.menu], dtype=object),
    }
    found |= _named("chosen", routed.chosen)
    for number, one in enumerate(routed.earlier):
        found |= {f"earlier{number}.rows": one.rows} | _named(f"earlier{number}", one.outcomes)
    buffer = io.BytesIO()
    columns: dict[str, Any] = dict(_encoded(name, column) for name, column in found.items() if column is not None)
    np.savez(buffer, **columns)
    write_bytes(path, buffer.getvalue())


def read_routed(path: Path) -> tuple[Routed, float]:
    """The same back, and the peak memory in MB."""
    with np.load(path, allow_pickle=False) as content:
        found = dict(_decoded(name, content[name]) for name in content.files)
    earlier, number = list[Earlier](), 0
    while f"earlier{number}.rows" in found:
        earlier.append(Earlier(found[f"earlier{number}.rows"], _outcomes(f"earlier{number}", found)))
        number += 1
    plain: dict[str, Any] = {name: found.get(name) for name in PLAIN}
    menu = tuple(Action.said(content) for content in found["menu"])
    routed = Routed(chosen=_outcomes("chosen", found), earlier=tuple(earlier), menu=menu, **plain)
    return routed, float(found["memory_mb"])


def _named(prefix: str, outcomes: BranchOutcomes) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": column for name, column in outcomes.columns().items()}


def _outcomes(prefix: str, found: Mapping[str, np.ndarray]) -> BranchOutcomes:
    names = (f.name for f in fields(BranchOutcomes))
    own: dict[str, Any] = {name: found[f"{prefix}.{name}"] for name in names if f"{prefix}.{name}" in found}
    return BranchOutcomes(**own)


def _encoded(name: str, column: np.ndarray) -> tuple[str, np.ndarray]:
    if column.dtype != object:
        return name, column
    return name + TEXTS, np.frombuffer(json.dumps(column.tolist()).encode(), np.uint8)


def _decoded(name: str, column: np.ndarray) -> tuple[str, np.ndarray]:
    if not name.endswith(TEXTS):
        return name, column
    return name.removesuffix(TEXTS), np.array(json.loads(column.tobytes()), dtype=object)
