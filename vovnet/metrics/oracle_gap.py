"""The budgeted oracle, and how much of the way from random mixing to it a policy goes."""

import numpy as np

from vovnet.metrics.frontier import Hull


def budgeted_oracle(scores: np.ndarray, costs: np.ndarray) -> Hull:
    """The best accuracy at every average cost when each branch's score is known.

    The frontier of argmax_a q_a - lambda c_a over all lambda at once: each sample climbs the corners of its own
    concave hull, and money goes first where it buys most (the fractional knapsack; Dantzig 1957).

    Args:
        scores, costs: [N, A], actions from cheap to dear.
    """
    rows = np.arange(len(scores))
    # The cheapest way to answer; among equals the best.
    at = np.lexsort((-scores, costs), axis=1)[:, 0]
    spent, won = costs[rows, at].astype(np.float64), scores[rows, at].astype(np.float64)
    steps_cost, steps_gain = [], []
    start = float(spent.mean()), float(won.mean())
    for _ in range(scores.shape[1] - 1):
        more, gain = costs - spent[:, None], scores - won[:, None]
        slope = np.full(scores.shape, -np.inf)
        np.divide(gain, more, out=slope, where=(more > 0) & (gain > 0))
        best = slope.argmax(axis=1)
        # Of equally steep corners the farthest, so that a step is never split.
        best = np.where(slope == slope[rows, best][:, None], more, -np.inf).argmax(axis=1)
        climbs = slope[rows, best] > -np.inf
        if not climbs.any():
            break
        steps_cost.append(np.where(climbs, more[rows, best], 0.0))
        steps_gain.append(np.where(climbs, gain[rows, best], 0.0))
        spent, won = spent + steps_cost[-1], won + steps_gain[-1]
    if not steps_cost:
        return Hull(np.array([start[0]]), np.array([start[1]]))
    more, gain = np.concatenate(steps_cost), np.concatenate(steps_gain)
    used = gain > 0
    more, gain = more[used], gain[used]
    order = np.argsort(-gain / more, kind="stable")
    path_cost = start[0] + np.concatenate([[0.0], np.cumsum(more[order])]) / len(scores)
    path_score = start[1] + np.concatenate([[0.0], np.cumsum(gain[order])]) / len(scores)
    return Hull(path_cost, path_score)


def random_score(rates: np.ndarray, scores: np.ndarray) -> float:
    """Expected accuracy when actions are drawn with these rates [A] without looking at the sample; no drawing."""
    return float(rates @ scores.mean(axis=0, dtype=np.float64))


def gap_closed(accuracy: float, cost: float, rates: np.ndarray, scores: np.ndarray, costs: np.ndarray) -> float | None:
    """(Q - Q_random) / (Q_oracle - Q_random) at the policy's own cost.

    Q_random draws actions at the policy's rates, Q_oracle is the budgeted oracle at ``cost``. None where the oracle
    gains nothing over chance. Label noise inflates the oracle, so 1 is out of reach.
    """
    chance = random_score(rates, scores)
    best = float(np.nan_to_num(budgeted_oracle(scores, costs).at(cost), nan=chance))
    return (accuracy - chance) / (best - chance) if best - chance > 1e-9 else None


def mean_gap_closed(policy: Hull, mixing: Hull, oracle: Hull, points: int = 101) -> float | None:
    """The same, averaged over costs between the cheapest and the dearest fixed policy.

    Args:
        mixing: hull of the fixed policies, which random mixing reaches.
    """
    grid = np.linspace(mixing.costs[0], mixing.costs[-1], points)
    low, high, own = mixing.at(grid), oracle.at(grid), policy.at(grid)
    known = (high - low > 1e-9) & ~np.isnan(own)
    return float(((own - low)[known] / (high - low)[known]).mean()) if known.any() else None
