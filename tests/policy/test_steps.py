"""A policy is asked until it has answered; every look is paid for once; replay and live follow the same steps."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.actions import USUAL, Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.routed import route
from vovnet.outcomes.rows import BranchOutcomes, no_text
from vovnet.outcomes.units import Tokens
from vovnet.policy.protocol import Policy, Step, View
from vovnet.policy.steps import follow

TOKENS = {Action.NO: 0, Action.COARSE: 16, Action.FULL: 256}


def outcomes(action: Action, rows: np.ndarray) -> BranchOutcomes:
    """Made up: each answer names its look and row."""
    columns = {name: np.zeros(len(rows)) for name in BranchOutcomes.__dataclass_fields__ if name != "hidden"}
    said = np.array([f"{action.label} {row}" for row in rows.tolist()], dtype=object)
    tokens = np.full(len(rows), TOKENS[action])
    confidence = (rows % 10) / 10
    return BranchOutcomes(**columns | {"prediction": said, "vision_tokens": tokens, "confidence": confidence})


class Scripted(Policy):
    """Takes looks one after another as a table says, and answers from the last; asks with what it was shown."""

    needs = frozenset({"look:no", "look:coarse", "look:full"})

    def __init__(self, plans: list[list[Action]]) -> None:
        self.plans, self.shown = plans, list[View]()

    def step(self, view: View) -> Step:
        self.shown.append(view)
        own = [self.plans[row] for row in view.rows.tolist()]
        taken = [sum(bool(seen.taken[place]) for seen in view.seen.values()) for place in range(len(view))]
        looks = np.array([int(plan[done]) for plan, done in zip(own, taken, strict=True)])
        return Step(looks, answer=np.array([done + 1 == len(plan) for plan, done in zip(own, taken, strict=True)]))


plans = st.lists(st.permutations(list(USUAL)).flatmap(lambda p: st.integers(1, 3).map(lambda n: p[:n])), min_size=1)


@given(plans)
def test_each_look_is_taken_and_paid_once(plans: list[list[Action]]) -> None:
    asked: list[tuple[Action, int]] = []

    def take(wanted: Mapping[Action, np.ndarray]) -> dict[Action, BranchOutcomes]:
        asked.extend((action, row) for action, rows in wanted.items() for row in rows.tolist())
        return {action: outcomes(action, rows) for action, rows in wanted.items()}

    course = follow(Scripted(plans), View(np.arange(len(plans))), take)
    routed = route(course, no_text(len(plans)), Tokens(256), reads_text=False)
    assert sorted(asked) == sorted((action, row) for row, plan in enumerate(plans) for action in plan)
    assert course.actions.tolist() == [plan[-1] for plan in plans]
    assert routed.chosen.prediction.tolist() == [f"{plan[-1].label} {row}" for row, plan in enumerate(plans)]
    assert routed.looks.tolist() == [len(plan) for plan in plans]
    assert routed.paid("vision_tokens").tolist() == [sum(TOKENS[action] for action in plan) for plan in plans]
    assert np.allclose(routed.cost * 256, routed.paid("vision_tokens"))


def test_what_was_seen_is_shown_without_scores() -> None:
    policy = Scripted([[Action.COARSE, Action.FULL], [Action.FULL]])
    follow(policy, View(np.array([0, 1])), lambda asked: {a: outcomes(a, rows) for a, rows in asked.items()})
    first, second = policy.shown
    assert first.seen == {}
    assert second.rows.tolist() == [0]
    assert second.seen[Action.COARSE].prediction.tolist() == ["coarse 0"]
    assert not second.seen[Action.FULL].taken.any()
    assert {"score", "parsed", "nll"}.isdisjoint(vars(second.seen[Action.COARSE]))


class Same(Policy):
    """Looks at every thumbnail for ever, answers from a look again, or chooses what it may not."""

    looks = (Action.NO, Action.COARSE)

    def __init__(self, look: int, answer: bool) -> None:
        self.look, self.answer = look, answer

    def step(self, view: View) -> Step:
        return Step(np.full(len(view), self.look), answer=np.full(len(view), self.answer))


@pytest.mark.parametrize(
    ("look", "answer", "sentence"),
    [
        (Action.COARSE, False, "never answers"),
        (Action.FULL, True, "none of its looks"),
        (-1, True, "none of its looks"),
    ],
)
def test_a_policy_that_cannot_go_on_is_refused(look: int, answer: bool, sentence: str) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        follow(Same(look, answer), View(np.arange(3)), lambda asked: {a: outcomes(a, r) for a, r in asked.items()})


def test_values_of_later_steps_replace_earlier_ones() -> None:
    class Twice(Scripted):
        def step(self, view: View) -> Step:
            step = super().step(view)
            return replace(step, values=np.full((len(view), 3), len(self.shown)))

    policy = Twice([[Action.FULL], [Action.COARSE, Action.FULL]])
    course = follow(policy, View(np.arange(2)), lambda asked: {a: outcomes(a, r) for a, r in asked.items()})
    assert course.values is not None
    assert course.values.tolist() == [[1, 1, 1], [2, 2, 2]]
