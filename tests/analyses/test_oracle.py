"""What the oracle's analysis and the error slices say of outcomes that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.actions import USUAL, Action
from vovnet.analyses.oracle import analyse
from vovnet.analyses.slices import KINDS, error_kinds
from vovnet.outcomes.rows import BranchOutcomes, Outcomes, no_text

SPACE = USUAL


def scored(scores: np.ndarray) -> Outcomes:
    size = len(scores)
    zeros = {name: np.zeros(size) for name in BranchOutcomes.__dataclass_fields__}
    return Outcomes(no_text(size), {a: BranchOutcomes(**{**zeros, "score": scores[:, int(a)]}) for a in SPACE})


def test_every_choice_has_the_kind_that_its_scores_say() -> None:
    cases = [
        ([0, 0, 1], Action.FULL, "right_choice"),
        ([0, 0, 1], Action.NO, "missed_need"),
        ([0, 0, 1], Action.COARSE, "missed_need"),
        ([0, 1, 1], Action.FULL, "wasted_vision"),
        ([1, 0, 0], Action.FULL, "vision_hurts"),
        ([0, 0, 0], Action.NO, "right_choice"),
        ([0, 0, 0], Action.COARSE, "wasted_vision"),
        ([0.3, 0, 1], Action.COARSE, "vision_hurts"),  # both sides are better: the cheaper one is told first
        ([0.3, 0.6, 0.6], Action.FULL, "wasted_vision"),
        ([0.3, 0.6, 0.9], Action.COARSE, "missed_need"),
    ]
    kinds = error_kinds(np.array([s for s, _, _ in cases], dtype=float), np.array([int(a) for _, a, _ in cases]))
    assert [KINDS[kind] for kind in kinds] == [kind for _, _, kind in cases]


@given(st.integers(0, 2**32 - 1))
def test_the_oracles_choices_are_all_right(seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (40, 3)) / 3
    assert not error_kinds(scores, scores.argmax(axis=1)).any()


def test_the_analysis_adds_up() -> None:
    scores = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=float)
    costs = np.tile([0.0, 0.1, 1.0], (5, 1))
    found = analyse(scored(scores), costs, SPACE, ["a", "a", "b", "b", "b"])
    assert found["cheapest_correct"] == {
        "accuracy": 0.8, "avg_cost": pytest.approx(0.24),
        "action_rate_no": 0.4, "action_rate_coarse": 0.4, "action_rate_full": 0.2,
    }  # fmt: skip
    assert found["by_category"]["a"]["accuracy"] == 1.0
    assert found["by_category"]["b"]["num_samples"] == 3
    assert found["fixed"]["full"] == {"accuracy": 0.6, "avg_cost": 1.0}
    assert found["solved"]["none"] == 0.2
    assert found["solved"]["coarse"] == 0.2
    assert sum(found["solved"].values()) == pytest.approx(1)
    costs_over_lambda = [line["avg_cost"] for line in found["utility"]]
    assert costs_over_lambda == sorted(costs_over_lambda, reverse=True)
