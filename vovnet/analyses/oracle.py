"""Block H1: what the best choice per question would reach, and its upper bound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import USUAL, Action
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.outcomes.rows import Outcomes, places
from vovnet.policy.oracle import Oracle
from vovnet.policy.steps import chosen_of
from vovnet.results.evaluate import Evaluation, evaluate, read_outcomes
from vovnet.schema import RunConfig
from vovnet.session import Session


def evaluate_oracle(config: RunConfig, folder: Path, session: Session) -> Evaluation:
    """Evaluate the oracle, then write ``analysis_oracle.json`` next to its results."""
    if not isinstance(config.policy.baseline, Oracle):
        raise VoVNetError("experiments.oracle is about policy/baseline=oracle; leave policy/baseline out.")
    evaluation = evaluate(config, folder, session)
    actions = config.menu
    outcomes, costs = read_outcomes(config, actions, session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    categories = [dataset[i].category for i in range(len(costs))]
    write_json(folder / "analysis_oracle.json", analyse(outcomes, costs, actions, categories))
    return evaluation


LAMBDAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def analyse(
    outcomes: Outcomes, costs: np.ndarray, actions: Sequence[Action], categories: Sequence[str]
) -> dict[str, Any]:
    """What knowing every outcome would be worth.

    Args:
        costs: normalised, [N, A], in the order of ``actions``, cheapest first.
        categories: of the samples, [N].

    Returns:
        ``cheapest_correct``: the cheapest action with the best score, overall and by category;
        ``utility``: the best choice at each lambda; ``fixed``: every action alone; ``solved``: shares of
        samples by which actions get them right (a score of at least one half).
    """
    space, scores = tuple(actions), outcomes.stacked("score", actions)
    cheapest = chosen_of(Oracle("oracle", "cheapest_correct").over(space), outcomes, costs).actions
    names = np.asarray(categories)

    def best(price: float) -> np.ndarray:
        return chosen_of(Oracle("oracle", "utility").over(space, price), outcomes, costs).actions

    return {
        "num_samples": len(names),
        "cheapest_correct": _described(cheapest, scores, costs, space),
        "by_category": {
            name: {"num_samples": int((names == name).sum())}
            | _described(cheapest[names == name], scores[names == name], costs[names == name], space)
            for name in sorted(set(categories))
        },
        "utility": [{"lambda_cost": price} | _described(best(price), scores, costs, space) for price in LAMBDAS],
        "fixed": {
            action.label: {"accuracy": float(scores[:, i].mean()), "avg_cost": float(costs[:, i].mean())}
            for i, action in enumerate(space)
        },
        "solved": _solved(scores, space),
    }


def _described(chosen: np.ndarray, scores: np.ndarray, costs: np.ndarray, space: tuple[Action, ...]) -> dict[str, Any]:
    """Accuracy, cost and action rates of a choice."""
    columns = places(space, chosen)
    rows = np.arange(len(chosen))
    return {
        "accuracy": float(scores[rows, columns].mean()),
        "avg_cost": float(costs[rows, columns].mean()),
        **{
            f"action_rate_{look.label}": float((chosen == int(look)).mean()) for look in dict.fromkeys((*USUAL, *space))
        },
    }


def _solved(scores: np.ndarray, space: tuple[Action, ...]) -> dict[str, float]:
    """Share of samples by the set of actions that get them right, ``none`` where none does."""
    right = scores >= 0.5
    codes = right @ (1 << np.arange(len(space)))
    shares = {}
    for code in range(1 << len(space)):
        names = [action.label for i, action in enumerate(space) if code >> i & 1]
        shares["+".join(names) or "none"] = float((codes == code).mean())
    return shares
