"""Values between two sizes are linear in the logarithm of the cost, so that a size in between may be the best."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure, compose_config
from tests.policy.test_route import policy_file
from vovnet.actions import USUAL, Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import TextOutcomes
from vovnet.policy.decide import choose
from vovnet.policy.trained import Interpolated
from vovnet.policy.vovnet import ValueHead
from vovnet.results.evaluate import evaluate
from vovnet.schema import finer

BETWEEN = "policy.interpolate=2"
LADDER = finer(USUAL, compose_config().vision_budget, 2)


class KnownValues(ValueHead):
    """A head of three looks whose values are given."""

    def __init__(self, values: np.ndarray) -> None:
        self._known = values
        self.file = None

        class Card:
            menu = USUAL

        self.card = Card()  # type: ignore[assignment]

    def values(self, text: TextOutcomes) -> np.ndarray:
        return self._known


def estimates(values: list[float], costs: list[float]) -> np.ndarray:
    policy = Interpolated(KnownValues(np.array([values])), 0.1, LADDER)
    return policy.estimates(None, np.array([costs]))[0]  # type: ignore[arg-type]


def test_sizes_rise_by_equal_factors_between_neighbours() -> None:
    sides = [look.long_side for look in LADDER[2:-1]]
    low, high = compose_config().vision_budget.coarse.long_side, compose_config().vision_budget.full.long_side
    assert sides == [round(low * (high / low) ** step) for step in (1 / 3, 2 / 3)]
    assert (Action.NO, Action.COARSE, *(Action.of(side) for side in sides), Action.FULL) == LADDER


def test_equal_factors_of_cost_are_equal_steps_of_value() -> None:
    assert estimates([0.2, 0.5, 0.8], [0, 1 / 16, 1 / 8, 1 / 4, 1 / 2]) == pytest.approx([0.2, 0.5, 0.6, 0.7, 0.8])


def test_an_image_that_is_small_already_costs_and_yields_the_same_in_between() -> None:
    assert estimates([0.2, 0.5, 0.8], [0, 0.1, 0.1, 0.1, 0.1]) == pytest.approx([0.2, 0.5, 0.5, 0.5, 0.8])


def test_a_size_in_between_may_be_the_best() -> None:
    costs = np.array([[0, 1 / 16, 1 / 4, 1.0]])
    values = np.array([estimates([0.0, 0.5, 0.9], [0, 1 / 16, 1 / 4, 1 / 2, 1.0])[[0, 1, 2, 4]]])
    assert [int(choose(values, costs, price)[0]) for price in (0.1, 0.5, 1.5)] == [3, 2, 1]


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_values_lie_between_their_neighbours_and_the_heads_own_stay(values: list[float], costs: list[float]) -> None:
    found = estimates(values, [0.0, *sorted(costs)])
    assert found[[0, 1, -1]].tolist() == values
    low, high = sorted(values[1:])
    assert ((found[2:-1] >= low - 1e-12) & (found[2:-1] <= high + 1e-12)).all()


def test_results_say_how_many_looks_are_interpolated(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    row = evaluate(configure(f"eval.checkpoint={path}", "eval.max_samples=8", BETWEEN), tmp_path / "run").row
    assert dict(row.extra) == {"interpolated": 2}
    assert {look.label for look in LADDER[2:-1]} == dict(row.rates).keys()


def test_what_does_not_fit_between_is_refused(configure: Configure, tmp_path: Path) -> None:
    binary = "policy.looks=[no,{merge:0.5},full]"
    path = policy_file(configure(binary), tmp_path / "policy.safetensors")
    with pytest.raises(VoVNetError, match=r"policy\.interpolate=2: no two neighbouring looks"):
        evaluate(configure(f"eval.checkpoint={path}", binary, BETWEEN), tmp_path / "run")
    with pytest.raises(VoVNetError, match="look once at whole images"):
        configure("policy=sequential", BETWEEN)
