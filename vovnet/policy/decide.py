"""The decision rule: argmax over actions of value minus lambda times normalised cost."""

import numpy as np


def choose(values: np.ndarray, costs: np.ndarray, lambda_cost: float) -> np.ndarray:
    """Column of the action with the highest ``values - lambda_cost * costs``, ties to the cheaper.

    Args:
        values: estimated score of each action, [N, A], actions from cheap to dear.
        costs: normalised cost of each action, [N, A], never falling along a row.
        lambda_cost: score worth one whole image, at least 0.

    Returns:
        Chosen columns, int64 [N].

    Written as pairwise comparisons ``v_a - v_b > lambda * (c_a - c_b)``, each of which can only turn
    from true to false as lambda grows, rounding included. So no sample's cost ever rises with lambda,
    whatever the values; a plain argmax of differences guarantees that only in exact arithmetic.
    """
    values = np.asarray(values, dtype=np.float64)
    costs = np.asarray(costs, dtype=np.float64)
    if not (np.isfinite(values).all() and np.isfinite(costs).all() and lambda_cost >= 0):
        raise ValueError("values and costs must be finite and lambda at least 0")
    if (np.diff(costs, axis=1) < 0).any():
        raise ValueError("costs must not fall from a cheaper action to a dearer one")
    chosen = np.zeros(len(values), dtype=np.int64)
    for dear in range(1, values.shape[1]):
        gain = values[:, dear, None] - values[:, :dear]
        price = lambda_cost * (costs[:, dear, None] - costs[:, :dear])
        chosen[(gain > price).all(axis=1)] = dear
    return chosen
