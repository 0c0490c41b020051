"""Utility regret: what a policy's choices lose against knowing every outcome, at one lambda."""

import numpy as np


def utility_regret(scores: np.ndarray, costs: np.ndarray, columns: np.ndarray, lambda_cost: float) -> float:
    """mean max_a(q_a - lambda c_a) - mean(q - lambda c of the chosen action); the objective itself, at least 0.

    Args:
        scores, costs: [N, A]; costs normalised.
        columns: chosen actions, [N].
    """
    utility = scores.astype(np.float64) - lambda_cost * costs
    return float((utility.max(axis=1) - utility[np.arange(len(columns)), columns]).mean())
