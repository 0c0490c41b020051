"""The decision rule: values less lambda times costs, for one step and for plans that look again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class Choices:
    """The decisions of fixed values and costs at any lambda; what does not depend on lambda is done once.

    Args:
        values: estimated score of each action, [N, A], actions from cheap to expensive.
        costs: normalised cost of each action, [N, A]. Where FULL is pruned, a small image may cost less under it than
            under COARSE; its actions are taken in the order of what they cost.

    Raises:
        ValueError: something is not finite.

    Written as pairwise comparisons ``v_a - v_b > lambda * (c_a - c_b)``, each of which can only turn
    from true to false as lambda grows, rounding included. So no sample's cost ever rises with lambda,
    whatever the values; a plain argmax of differences guarantees that only in exact arithmetic.
    """

    def __init__(self, values: np.ndarray, costs: np.ndarray) -> None:
        values, costs = np.asarray(values, dtype=np.float64), np.asarray(costs, dtype=np.float64)
        if not (np.isfinite(values).all() and np.isfinite(costs).all()):
            raise ValueError("values and costs must be finite")
        self._order: np.ndarray | None = None
        if (np.diff(costs, axis=1) < 0).any():
            self._order = np.argsort(costs, axis=1, kind="stable")  # of equal ones the action that looks less
            values, costs = (np.take_along_axis(table, self._order, axis=1) for table in (values, costs))
        self._size = len(values)
        self._pairs = [  # of each action but the cheapest: gain and price against every cheaper one, each [N]
            [
                (values[:, expensive] - values[:, cheap], costs[:, expensive] - costs[:, cheap])
                for cheap in range(expensive)
            ]
            for expensive in range(1, values.shape[1])
        ]

    def at(self, lambda_cost: float) -> np.ndarray:
        """Chosen columns, int64 [N], ties to the cheaper.

        Raises:
            ValueError: lambda is below 0.
        """
        if not lambda_cost >= 0:
            raise ValueError("lambda must be at least 0")
        chosen = np.zeros(self._size, dtype=np.int64)
        for expensive, pairs in enumerate(self._pairs, start=1):
            wins = np.ones(self._size, dtype=bool)
            for gain, price in pairs:
                wins &= gain > lambda_cost * price
            chosen[wins] = expensive
        return chosen if self._order is None else self._order[np.arange(self._size), chosen]


def choose(values: np.ndarray, costs: np.ndarray, lambda_cost: float) -> np.ndarray:
    """Column of the action with the highest ``values - lambda_cost * costs``, ties to the cheaper; see ``Choices``."""
    return Choices(values, costs).at(lambda_cost)


@dataclass(frozen=True)
class LambdaCurve:
    """What a policy pays and gets at each lambda; all [L] but ``rates`` [L, A], the share of each action."""

    lambdas: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray
    rates: np.ndarray


def lambda_curve(values: np.ndarray, costs: np.ndarray, scores: np.ndarray, lambdas: Sequence[float]) -> LambdaCurve:
    """A whole sweep of lambda on stored outcomes, [N, A] each: the averages that as many evaluations would find."""
    choices, rows, actions = Choices(values, costs), np.arange(len(values)), values.shape[1]
    points = []
    for price in lambdas:
        columns = choices.at(price)
        rates = np.bincount(columns, minlength=actions) / len(rows)
        points.append((scores[rows, columns].mean(), costs[rows, columns].mean(), *rates))
    table = np.array(points).reshape(len(points), 2 + actions)
    return LambdaCurve(np.asarray(lambdas), table[:, 0], table[:, 1], table[:, 2:])


PRICES = 16
# Prices at which it is known how much a plan still spends, as shares of all that is left to be spent; close together
# near 0, where the gains of a look lie.
GRID = (np.arange(PRICES + 1) / PRICES) ** 2


@dataclass(frozen=True)
class Plan:
    """What the best plan of one stage does for N questions.

    Attributes:
        look: place of the look to take next, or of the one to answer from, int64 [N].
        further: expected normalised cost that is still to be spent by it, [N].
    """

    look: np.ndarray
    further: np.ndarray


def best_plan(
    values: np.ndarray, curves: np.ndarray, costs: np.ndarray, lambda_cost: float | np.ndarray, stage: int
) -> Plan:
    """The look of highest expected score less ``lambda`` times the expected cost of it and of what follows.

    Each option's worth is a convex function of lambda whose slope is minus its expected cost, so the largest one's is,
    too: whatever the estimates are, the expected cost of the chosen plan never rises with lambda. (What is really
    spent may, where a question goes from FULL at once to COARSE with FULL in reserve.) Ties go to the earlier look.

    Args:
        values: estimated score of the looks from ``stage`` on, [N, A - stage].
        curves: expected share of the cost of all later looks that is spent after each look that leaves others, at the
            prices of ``GRID``, [N, A - stage - 2, PRICES + 1], falling with the price to 0.
        costs: normalised cost of every look, [N, A].
        lambda_cost: accuracy that a cost of 1 is worth, one number or [N].
        stage: place of the look that was taken last; 0 is the text pass.
    """
    worth, spent = np.empty_like(values), np.zeros_like(values)
    worth[:, 0] = values[:, 0]  # to answer from what there is
    left = costs[:, ::-1].cumsum(axis=1)[:, ::-1]  # cost of a look and of all later ones
    last = costs.shape[1] - 1
    for place in range(1, values.shape[1]):
        look = stage + place
        own = costs[:, look]
        gain = further = np.zeros(len(values))
        if look < last:
            later = left[:, look + 1]
            gain, share = integral(curves[:, place - 1], lambda_cost * later)
            further = share * later
        worth[:, place] = values[:, place] + gain - lambda_cost * own
        spent[:, place] = own + further
    chosen = worth.argmax(axis=1)
    return Plan(chosen + stage, spent[np.arange(len(values)), chosen])


@dataclass(frozen=True)
class Plans:
    """Everything that a policy which looks again would say of N questions, whatever it has looked at.

    Attributes:
        outputs: of each stage, [N, outputs]; see ``split_outputs``.
        costs: normalised cost of every look, [N, A].
    """

    outputs: Sequence[np.ndarray]
    costs: np.ndarray

    def at(self, lambda_cost: float) -> tuple[np.ndarray, np.ndarray]:
        """Place of the look that each question is answered from, and the cost of all looks that it took, [N] each."""
        place, paid = np.zeros(len(self.costs), dtype=np.int64), np.zeros(len(self.costs))
        going = np.arange(len(self.costs))
        for stage, outputs in enumerate(self.outputs):
            here = going[place[going] == stage]
            estimates, curves = split_outputs(outputs[here], self.costs.shape[1], stage)
            place[here] = best_plan(estimates, curves, self.costs[here], lambda_cost, stage).look
            moved = here[place[here] > stage]
            paid[moved] += self.costs[moved, place[moved]]
            going = np.setdiff1d(going, here[place[here] == stage])
        return place, paid


def split_outputs(outputs: np.ndarray, actions: int, stage: int) -> tuple[np.ndarray, np.ndarray]:
    """Values [N, A - stage] and spending curves [N, looks, PRICES + 1] of what a head gives in a stage.

    At the last price, where a question's cost outweighs any gain, nothing more is spent.
    """
    count = actions - stage
    curves = outputs[:, count:].reshape(len(outputs), max(0, count - 2), PRICES)
    return outputs[:, :count], np.pad(curves, ((0, 0), (0, 0), (0, 1)))


def integral(curves: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under piecewise linear curves over ``GRID`` from a price [N] on, and the curves' values there, both [N].

    Args:
        curves: their values, [N, PRICES + 1].
    """
    width = np.diff(GRID)
    areas = (curves[:, 1:] + curves[:, :-1]) / 2 * width
    beyond = np.concatenate([areas[:, ::-1].cumsum(axis=1)[:, ::-1], np.zeros((len(curves), 1))], axis=1)
    inside = np.clip(np.searchsorted(GRID, prices, side="right") - 1, 0, len(width) - 1)
    rows = np.arange(len(curves))
    low, high = curves[rows, inside], curves[rows, inside + 1]
    way = np.clip((prices - GRID[inside]) / width[inside], 0, 1)
    here = low + (high - low) * way
    return beyond[rows, inside + 1] + (here + high) / 2 * (1 - way) * width[inside], here
