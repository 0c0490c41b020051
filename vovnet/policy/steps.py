"""Asking a policy until every question is answered: the one way of replay, live routing and analyses."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.data import Sample
from vovnet.errors import VoVNetError
from vovnet.outcomes.routed import Course, Piece
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, LookState, Outcomes
from vovnet.policy.protocol import COSTS, LOOK, OUTCOMES, SAMPLES, SEEN, STATE, TEXT, Policy, Question, Seen, View

Asked = Mapping[Action, np.ndarray]  # places in the view [n] by the look to take
Taken = Mapping[Action, BranchOutcomes]
Take = Callable[[Asked], Taken]
Asking = Generator[Asked, Any, Course]  # takes None first, then ``Taken``


def follow(policy: Policy, view: View, take: Take) -> Course:
    """Ask a policy and take the looks that it asks for, until it has answered every question.

    Args:
        view: of what it needs before any look.
        take: answers some questions of the view after a look at them.

    Raises:
        VoVNetError: the policy chooses a look that is not its own, or asks for a look that it has taken already.
    """
    asking = ask(policy, view)
    taken = None
    while True:
        try:
            taken = take(asking.send(taken))
        except StopIteration as end:
            course: Course = end.value
            return course


def ask(policy: Policy, view: View) -> Asking:
    """The same as a generator: it yields the looks that are asked for, takes their outcomes, and returns the course."""
    size = len(view)
    actions, done = np.full(size, -1, dtype=np.int64), np.zeros((size, len(Action)), dtype=bool)
    values, fallback, pieces = None, None, list[Piece]()
    pending = np.arange(size)
    while len(pending):
        whole = len(pending) == size
        step = policy.step(_part(policy, view, pending, pieces) if pieces or not whole else view)
        _check(policy, step.looks, len(pending))
        answered = np.ones(len(pending), dtype=bool) if step.answer is None else np.asarray(step.answer, dtype=bool)
        asked = {a: pending[(step.looks == int(a)) & ~done[pending, int(a)]] for a in policy.looks}
        asked = {action: rows for action, rows in asked.items() if len(rows)}
        if not answered.all() and not _moves(step.looks, answered, pending, done):
            raise VoVNetError(f"{policy.name or 'the policy'} looks again at what it has seen and never answers.")
        for action, outcomes in ((yield asked) if asked else {}).items():
            pieces.append(Piece(action, asked[action], outcomes))
            done[asked[action], int(action)] = True
        actions[pending[answered]] = step.looks[answered]
        values, fallback = _put(values, step.values, pending, size), _put(fallback, step.fallback, pending, size)
        pending = pending[~answered]
    return Course(actions, pieces, values, fallback)


def chosen_of(policy: Policy, outcomes: Outcomes, costs: np.ndarray, samples: Sequence[Sample] = ()) -> Course:
    """What a policy does where every outcome is known; ``costs`` are of its looks, [N, A]."""
    rows = np.arange(len(outcomes))
    view = first_view(policy, rows, outcomes, costs, samples)
    return follow(policy, view, lambda asked: {a: outcomes.branches[a].take(rows) for a, rows in asked.items()})


def first_view(
    policy: Policy, rows: np.ndarray, outcomes: Outcomes, costs: np.ndarray, samples: Sequence[Sample]
) -> View:
    """What a policy sees of stored outcomes before any look."""
    return View(
        rows,
        text=outcomes.text if TEXT in policy.needs else None,
        costs=costs if COSTS in policy.needs else None,
        samples=[Question(sample) for sample in samples] if SAMPLES in policy.needs else None,
        outcomes=outcomes if OUTCOMES in policy.needs else None,
    )


def _check(policy: Policy, looks: np.ndarray, size: int) -> None:
    if np.shape(looks) != (size,):
        raise VoVNetError(f"{policy.name}.step gives looks of shape {np.shape(looks)} for {size} questions.")
    if strange := set(np.unique(looks).tolist()) - {int(action) for action in policy.looks}:
        raise VoVNetError(f"{policy.name}.step chooses {min(strange)}, which is none of its looks.")


def _moves(looks: np.ndarray, answered: np.ndarray, pending: np.ndarray, done: np.ndarray) -> bool:
    """Whether each question that is not answered gets a look that it has not had."""
    return not done[pending[~answered], looks[~answered]].any()


def _part(policy: Policy, view: View, rows: np.ndarray, pieces: Sequence[Piece]) -> View:
    """The view of some questions, with what was seen of them by the looks that the policy needs."""
    wanted = [a for a in policy.looks if {f"{LOOK}{a.label}", f"{STATE}{a.label}"} & policy.needs]
    seen = {a: _seen(a, rows, len(view), pieces, a in policy.states) for a in wanted}
    whole = len(rows) == len(view)
    return replace(
        view,
        rows=view.rows[rows],
        text=view.text if whole or view.text is None else view.text.take(rows),
        costs=None if view.costs is None else view.costs[rows],
        samples=None if view.samples is None else [view.samples[row] for row in rows.tolist()],
        seen=seen,
    )


def _seen(action: Action, rows: np.ndarray, size: int, pieces: Sequence[Piece], with_state: bool) -> Seen:
    """What a look has yielded for some rows of a view."""
    place = np.full(size, -1)
    place[rows] = np.arange(len(rows))
    taken, columns = np.zeros(len(rows), dtype=bool), dict[str, np.ndarray]()
    names = (*SEEN, *(("entropy", "margin", "hidden") if with_state else ()))
    for piece in (piece for piece in pieces if piece.action is action):
        own = np.flatnonzero(place[piece.rows] >= 0)  # of the piece's rows, those that are asked for
        target = place[piece.rows[own]]
        taken[target] = True
        for name in names:
            column = getattr(piece.outcomes, name)
            found = column.take(own) if isinstance(column, BlockRows) else column[own]
            columns.setdefault(name, np.zeros((len(rows), *found.shape[1:]), found.dtype))[target] = found
    nothing = {name: np.zeros((len(rows), 0) if name == "hidden" else len(rows)) for name in names}
    seen = nothing | columns
    state = LookState(BlockRows([seen["hidden"]]), seen["entropy"], seen["margin"]) if with_state else None
    return Seen(taken, **{name: seen[name] for name in SEEN}, state=state)


def _put(table: np.ndarray | None, part: np.ndarray | None, rows: np.ndarray, size: int) -> np.ndarray | None:
    """Rows of a table that a step gives; later steps replace what earlier ones said."""
    if part is None:
        return table
    if len(rows) == size:
        return part
    table = np.zeros((size, *part.shape[1:]), dtype=part.dtype) if table is None else table.copy()
    table[rows] = part
    return table
