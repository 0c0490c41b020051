"""The decision rule and its invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import compose_config
from vovnet.policy.decide import Choices, choose, lambda_curve
from vovnet.vlm.qwen.budget import make_budget

any_value = st.floats(allow_nan=False, allow_infinity=False, width=64)
tables = st.integers(1, 8).flatmap(lambda n: arrays(np.float64, (n, 3), elements=any_value))
steps = st.lists(st.floats(0, 1, allow_nan=False), min_size=2, max_size=2)
lambdas = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=2, max_size=6).map(sorted)


@given(tables, steps, lambdas)
def test_cost_never_rises_with_lambda_whatever_the_values(
    values: np.ndarray, increments: list[float], lams: list[float]
) -> None:
    costs = np.broadcast_to(np.cumsum([0.0, *increments]), values.shape)
    rows = np.arange(len(values))
    paid = [costs[rows, choose(values, costs, lam)] for lam in lams]
    for cheaper_lambda, dearer_lambda in itertools.pairwise(paid):
        assert (dearer_lambda <= cheaper_lambda).all()


small = st.integers(-20, 20).map(lambda i: i / 8)  # exact in binary: argmax is exact too


@given(
    st.integers(1, 8).flatmap(lambda n: arrays(np.float64, (n, 3), elements=small)),
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
    st.integers(0, 16),
)
def test_it_is_argmax_of_utility_with_ties_to_the_cheaper(
    values: np.ndarray, increments: tuple[int, int], lam: int
) -> None:
    costs = np.broadcast_to(np.cumsum([0, *increments]) / 8, values.shape)
    expected = np.argmax(values - lam / 4 * costs, axis=1)  # argmax takes the first: the cheapest
    assert (choose(values, costs, lam / 4) == expected).all()


@given(tables)
def test_lambda_zero_ignores_cost(values: np.ndarray) -> None:
    chosen = choose(values, np.tile([0.0, 0.1, 1.0], (len(values), 1)), 0.0)
    rows = np.arange(len(values))
    assert (values[rows, chosen] == values.max(axis=1)).all()


def test_equal_values_take_the_cheapest() -> None:
    assert choose(np.ones((1, 3)), np.array([[0.0, 0.1, 1.0]]), 0.0).tolist() == [0]


def test_binary_action_space() -> None:
    values, costs = np.array([[0.5, 0.9], [0.5, 0.6]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    assert choose(values, costs, 0.2).tolist() == [1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        choose(np.array([[0.0, bad]]), np.array([[0.0, 1.0]]), 0.1)


@given(tables, st.permutations([0.0, 0.25, 1.0]), lambdas)
def test_an_action_that_costs_less_than_a_cheaper_ones_is_taken_where_it_stands(
    values: np.ndarray, costs: list[float], lams: list[float]
) -> None:
    """Tables whose columns do not rise give what the same tables give in the order of their costs."""
    rows, order = np.arange(len(values)), np.argsort(costs)
    table = np.broadcast_to(np.array(costs), values.shape)
    paid = []
    for lam in lams:
        chosen = choose(values, table, lam)
        assert (order[choose(values[:, order], table[:, order], lam)] == chosen).all()
        paid.append(table[rows, chosen])
    assert all((later <= earlier).all() for earlier, later in itertools.pairwise(paid))


def test_a_negative_lambda_is_refused() -> None:
    with pytest.raises(ValueError, match="lambda"):
        choose(np.zeros((1, 2)), np.array([[0.0, 1.0]]), -0.1)


@pytest.mark.parametrize(
    ("price", "column"), [(0.0, 2), (0.5, 2), (0.79, 2), (0.81, 1), (0.99, 1), (1.01, 0), (9.0, 0)]
)
@pytest.mark.parametrize("least", [0.0, 0.25])
def test_what_an_action_costs_more_counts_and_not_what_both_cost(price: float, column: int, least: float) -> None:
    """0.5 more for a look at 0.5 more; 0.4 more for one at another 0.5."""
    values, costs = np.array([[0.0, 0.5, 0.9]]), least + np.array([[0.0, 0.5, 1.0]])
    assert choose(values, costs, price).tolist() == [column]


@pytest.mark.parametrize("actions", [2, 3])
def test_a_lambda_curve_is_what_single_decisions_give(actions: int) -> None:
    rng = np.random.default_rng(0)
    values, scores = rng.random((50, actions)), (rng.random((50, actions)) < 0.5).astype(float)
    costs, lambdas = np.tile([0.0, 0.1, 1.0][-actions:], (50, 1)), [0.0, 0.2, 1.0, 9.0]
    curve = lambda_curve(values, costs, scores, lambdas)
    for place, price in enumerate(lambdas):
        columns = choose(values, costs, price)
        rows = np.arange(50)
        assert curve.accuracy[place] == scores[rows, columns].mean()
        assert curve.cost[place] == costs[rows, columns].mean()
        assert curve.rates[place].tolist() == [(columns == a).mean() for a in range(actions)]


@given(st.integers(1, 200), st.integers(1, 200), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3))
def test_along_a_ladder_no_look_costs_more_than_full_and_no_questions_cost_rises_with_lambda(
    width: int, height: int, seeds: list[int]
) -> None:
    """Sizes are rounded to whole tokens, so a small picture may cost the same under several looks."""
    config = compose_config("policy.action_space=ladder")
    budget = make_budget(config.vision_budget, patch_size=4, merge_size=2)
    costs = np.array([[budget.tokens(width, height, look) for look in config.menu]]) / budget.max_tokens
    assert costs.max() == costs[0, -1]
    for seed in seeds:
        choices = Choices(np.random.default_rng(seed).uniform(size=costs.shape), costs)
        paid = [costs[0, choices.at(price)[0]] for price in np.geomspace(0.01, 10, 12)]
        assert paid == sorted(paid, reverse=True)
