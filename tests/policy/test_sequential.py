"""Looking again: what a plan is worth, what it spends as lambda rises, and the policies that are cases of it."""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.policy.test_steps import outcomes
from vovnet.actions import USUAL, Action
from vovnet.outcomes.routed import Routed, route
from vovnet.outcomes.rows import BlockRows, Outcomes, TextOutcomes
from vovnet.outcomes.units import Tokens
from vovnet.policy.decide import GRID, PRICES, best_plan, choose, integral, split_outputs
from vovnet.policy.protocol import Policy
from vovnet.policy.steps import chosen_of
from vovnet.policy.uncertainty import Cascade, Fallback
from vovnet.policy.vovnet import Sequential, VoVNet

COSTS = {Action.NO: 0.0, Action.COARSE: 16 / 256, Action.FULL: 1.0}
shares = st.floats(0, 1, allow_nan=False)
lambdas = st.lists(st.floats(0, 5, allow_nan=False), min_size=2, max_size=5).map(sorted)


@st.composite
def stages(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Values, falling curves and costs of some questions in some stage of a menu of three to five looks."""
    size, looks = draw(st.integers(1, 4)), draw(st.integers(3, 5))
    stage = draw(st.integers(0, looks - 2))
    values = draw(arrays(np.float64, (size, looks - stage), elements=shares))
    curves = draw(arrays(np.float64, (size, max(0, looks - stage - 2), PRICES), elements=shares))
    falling = np.pad(-np.sort(-curves, axis=2), ((0, 0), (0, 0), (0, 1)))
    costs = np.cumsum(draw(arrays(np.float64, (size, looks), elements=shares)), axis=1)
    return values, falling, costs, stage


@given(stages(), lambdas)
def test_the_expected_cost_of_a_plan_never_rises_with_lambda(
    stage: tuple[np.ndarray, np.ndarray, np.ndarray, int], lams: list[float]
) -> None:
    values, curves, costs, number = stage
    spent = [best_plan(values, curves, costs, lam, number).further for lam in lams]
    for (low, before), (high, after) in itertools.pairwise(zip(lams, spent, strict=True)):
        near = 1e-9 / max(high - low, 1e-9)  # where two plans are worth the same, rounding decides
        assert (after <= before + near).all()


@given(arrays(np.float64, (3, PRICES), elements=shares), arrays(np.float64, 3, elements=st.floats(0, 1.5)))
def test_the_area_under_a_spending_curve(raw: np.ndarray, prices: np.ndarray) -> None:
    curves = np.pad(-np.sort(-raw, axis=1), ((0, 0), (0, 1)))
    area, here = integral(curves, prices)
    for row, price in enumerate(prices.tolist()):
        points = np.unique(np.concatenate([GRID, np.linspace(min(price, 1), 1, 5)]))
        points = points[points >= min(price, 1)]
        heights = np.interp(points, GRID, curves[row])
        assert area[row] == pytest.approx(np.trapezoid(heights, points), abs=1e-12)
        assert here[row] == pytest.approx(0 if price >= 1 else np.interp(price, GRID, curves[row]), abs=1e-12)


def test_a_head_s_numbers_are_values_and_then_curves() -> None:
    values, curves = split_outputs(np.arange(2 * (4 + 2 * PRICES)).reshape(2, -1), 4, 0)
    assert values.tolist() == [[0, 1, 2, 3], [36, 37, 38, 39]]
    assert curves.shape == (2, 2, PRICES + 1)
    assert curves[0, 1, 0] == 4 + PRICES
    assert not curves[:, :, -1].any()
    assert split_outputs(np.ones((5, 2)), 3, 1)[1].shape == (5, 0, PRICES + 1)


class Scripted:
    """Stands for a trained head: values and curves before any look, and values after COARSE from its log-odds."""

    def __init__(self, values: np.ndarray, curve: float | None = None, after: Any = None) -> None:
        curves = np.full((len(values), 0 if curve is None else PRICES), curve or 0.0)
        self.first = np.concatenate([values, curves], axis=1)
        self.again = after
        self.card = SimpleNamespace(menu=USUAL, feature_mode="hidden_entropy_margin")
        self.file = None

    def values(self, text: TextOutcomes) -> np.ndarray:
        return self.first

    def after(self, stage: int, features: np.ndarray) -> np.ndarray:
        assert stage == 1
        return np.asarray(self.again(features[:, -1]))


def known(size: int) -> Outcomes:
    """Made-up outcomes whose COARSE answers are more or less probable."""
    rows, rng = np.arange(size), np.random.default_rng(0)
    states = rng.normal(size=(size, 4)).astype(np.float32)
    text = TextOutcomes(BlockRows([states]), states[:, 0], states[:, 1], np.full(size, 7))
    branches = {}
    for action in USUAL:
        branch = outcomes(action, rows)
        object.__setattr__(branch, "hidden", BlockRows([states]))
        object.__setattr__(branch, "entropy", states[:, 2])
        object.__setattr__(branch, "margin", states[:, 3])
        branches[action] = branch
    return Outcomes(text, branches)


def routed(policy: Policy, size: int = 40) -> Routed:
    found, costs = known(size), np.tile([COSTS[action] for action in policy.looks], (size, 1))
    return route(chosen_of(policy, found, costs), found.text, Tokens(256), reads_text=True)


def sequential(head: Scripted, lambda_cost: float) -> Sequential:
    return Sequential(head, lambda_cost)  # type: ignore[arg-type]


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.5, 2.0])
def test_without_hope_of_gains_it_is_the_policy_that_looks_once(lam: float) -> None:
    """After COARSE it never pays to go on."""
    values = np.random.default_rng(1).uniform(size=(40, 3))
    head = Scripted(values, curve=0.0, after=lambda odds: np.tile([1.0, 0.0], (len(odds), 1)))
    found, once = routed(sequential(head, lam)), routed(VoVNet(Scripted(values), lam))  # type: ignore[arg-type]
    assert np.array_equal(found.actions, once.actions)
    assert np.array_equal(found.cost, once.cost)
    assert np.array_equal(once.actions, choose(values, np.tile(list(COSTS.values()), (40, 1)), lam))


@pytest.mark.parametrize("threshold", [0.0, 0.35, 0.75, 1.0])
def test_that_always_begins_with_coarse_and_trusts_its_answer_s_probability_is_the_cascade(threshold: float) -> None:
    limit = np.inf if threshold >= 1 else np.log10(threshold / (1 - threshold)) if threshold > 0 else -np.inf
    head = Scripted(
        np.tile([0.0, 1.0, 0.0], (40, 1)),
        curve=0.0,
        after=lambda odds: np.where((odds < limit)[:, None], [0.0, 1.0], [1.0, 0.0]),
    )
    found, cascade = routed(sequential(head, 0.1)), routed(Cascade("cascade", threshold))
    assert np.array_equal(found.actions, cascade.actions)
    assert np.array_equal(found.cost, cascade.cost)
    assert np.array_equal(found.looks, cascade.looks)


def test_that_raises_an_uncertain_no_is_the_fallback() -> None:
    """The uncertainty of the text pass is among its features; here it is written into the values."""
    values = np.random.default_rng(2).uniform(size=(40, 3))
    inner, text = VoVNet(Scripted(values), 0.3), known(40).text  # type: ignore[arg-type]
    blind = choose(values, np.tile(list(COSTS.values()), (40, 1)), 0.3) == 0
    raised = values.copy()
    raised[blind & (text.entropy >= 0.5)] = [0.0, 1.0, 0.0]
    head = Scripted(raised, 0.0, after=lambda odds: np.tile([1.0, 0.0], (len(odds), 1)))
    fallback = routed(Fallback(inner, Action.COARSE, entropy=0.5, margin=None))
    assert fallback.fallback is not None
    assert 0 < fallback.fallback.sum() < blind.sum()
    assert np.array_equal(routed(sequential(head, 0.3)).actions, fallback.actions)


def test_full_in_reserve_makes_coarse_worth_a_look() -> None:
    """COARSE alone is worth less than it costs; as a step to FULL where FULL is needed it pays."""
    values = np.tile([0.5, 0.51, 1.0], (40, 1))
    doubtful = {"after": lambda odds: np.where((odds < 0)[:, None], [0.0, 1.0], [1.0, 1.0])}
    alone, reserve = Scripted(values, 0.0, **doubtful), Scripted(values, 0.5, **doubtful)
    assert set(routed(sequential(alone, 0.4)).actions) == {Action.FULL}
    found = routed(sequential(reserve, 0.4))
    assert set(found.actions) == {Action.COARSE, Action.FULL}
    assert set(found.looks.tolist()) == {1, 2}
    assert found.cost.tolist() == [1 / 16 + (1 if looks == 2 else 0) for looks in found.looks.tolist()]


def test_dearer_looks_are_refused_first() -> None:
    """What is spent after COARSE never rises with lambda, question by question."""
    rng = np.random.default_rng(3)
    after = rng.uniform(size=(40, 2))
    head = Scripted(np.tile([0.0, 1.0, 0.0], (40, 1)), 0.0, after=lambda odds: after[: len(odds)])
    costs = [routed(sequential(head, lam)).cost for lam in (0.0, 0.1, 0.3, 0.6)]
    for cheap, expensive in itertools.pairwise(costs):
        assert (expensive <= cheap).all()
    assert costs[0].mean() > costs[-1].mean()
