"""Target ratios of the random baseline, taken from what a VoVNet run did (block B3)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import TextOutcomes
from vovnet.policy.baselines import RandomPolicy
from vovnet.schema import BUCKETS, DatasetConfig, PruningMode, RandomBaseline, Ratios

if TYPE_CHECKING:
    from vovnet.results.columns import ResultRow

Pruned = tuple[PruningMode, float]


def random_policy(
    config: RandomBaseline, dataset: DatasetConfig, split: str, pruned: Pruned | None = None
) -> RandomPolicy:
    """The configured random policy, its ratios resolved.

    Args:
        pruned: mode and ratio by which FULL is pruned; a matched run's must be the same, or costs do not match.

    Raises:
        VoVNetError: no target is given, or ``match`` holds no fitting VoVNet row.
    """
    if config.target_ratios is not None:
        return RandomPolicy((config.target_ratios,), (), config.seed)
    if config.bucket_ratios is not None:
        return RandomPolicy(config.bucket_ratios, config.bucket_thresholds, config.seed)
    if config.match is None:
        raise VoVNetError(
            "random_policy_matched needs policy.baseline.target_ratios=[no,coarse,full], "
            "policy.baseline.match=FOLDER of a VoVNet run, or policy.baseline.bucket_ratios."
        )
    place = Path(config.match).expanduser()
    row = matched_row(place, config.match_lambda, dataset.name, split, pruned)
    if config.buckets:
        ratios, thresholds = bucket_ratios(place, config.bucket_thresholds)
        return RandomPolicy(ratios, thresholds, config.seed, row.avg_cost)
    ratio = (row.action_rate_no, row.action_rate_coarse, row.action_rate_full)
    return RandomPolicy((ratio,), (), config.seed, row.avg_cost)


def _fitting_rows(place: Path, pruned: Pruned | None) -> "list[ResultRow]":
    """VoVNet's rows of a run, sweep or table whose FULL is the same.

    Raises:
        VoVNetError: there is none, but some whose FULL is another.
    """
    from vovnet.results.columns import evaluated
    from vovnet.results.read import read_results
    from vovnet.results.write import RESULTS

    rows = read_results(place / RESULTS if place.is_dir() else place)
    own = [row for row in evaluated(rows) if not row.baseline_name]
    fitting = [row for row in own if (row.pruning_mode, row.pruning_ratio) == (pruned or (None, None))]
    if own and not fitting:
        seen = own[0].pruning_ratio
        keys = "1" if seen is None else f"{seen:g} policy.full_pruning_mode={own[0].pruning_mode}"
        raise VoVNetError(f"{place} is of a VoVNet with policy.full_pruning_ratio={keys}; set the same to match it.")
    return fitting


def matched_row(
    place: Path, lambda_cost: float | None, dataset: str, split: str, pruned: Pruned | None = None
) -> "ResultRow":
    """The VoVNet row with this lambda on this set.

    Raises:
        VoVNetError: no row or more than one fits.
    """
    rows = [row for row in _fitting_rows(place, pruned) if (row.dataset, row.split) == (dataset, split)]
    fitting = [row for row in rows if lambda_cost is None or math.isclose(row.lambda_cost or 0.0, lambda_cost)]
    if len(fitting) != 1:
        known = sorted({row.lambda_cost for row in rows if row.lambda_cost is not None})
        if not known:
            raise VoVNetError(f"{place} holds no VoVNet row of {dataset}/{split}; evaluate VoVNet on that set first.")
        asked = "" if lambda_cost is None else f" with lambda {lambda_cost}"
        raise VoVNetError(
            f"{place} holds {len(fitting)} VoVNet rows of {dataset}/{split}{asked}; "
            f"set policy.baseline.match_lambda to one of {known}, or match one run's folder."
        )
    return fitting[0]


def bucket_ratios(
    folder: Path, thresholds: tuple[float, float] | None = None
) -> tuple[tuple[Ratios, Ratios, Ratios], tuple[float, float]]:
    """Action rates of a run within three buckets of the text pass's entropy, and the bounds in nats.

    Args:
        thresholds: the bounds; None takes the terciles.

    Raises:
        VoVNetError: the folder holds no run whose predictions carry entropies, or a bucket is empty.
    """
    from vovnet.results.read import read_predictions
    from vovnet.results.write import PREDICTIONS

    path = folder / PREDICTIONS
    lines = read_predictions(path)
    try:
        entropy = np.array([line["entropy"] for line in lines], dtype=np.float64)
        actions = np.array([Action[line["action"].upper()] for line in lines])
        if not np.isfinite(entropy).all():  # null becomes NaN
            raise ValueError("no entropy")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VoVNetError(f"{path} has no entropy of a text pass; match another VoVNet run.") from error
    low, high = thresholds or np.quantile(entropy, [1 / BUCKETS, 2 / BUCKETS]).tolist()
    bucket = np.searchsorted((low, high), entropy, side="right")
    rates = []
    for number in range(BUCKETS):
        members = actions[bucket == number]
        if not len(members):
            raise VoVNetError(f"no sample of {path} has an entropy in bucket {number + 1}; give other thresholds.")
        no, coarse, full = (float((members == action).mean()) for action in Action)
        rates.append((no, coarse, full))
    return (rates[0], rates[1], rates[2]), (low, high)


def expectation(policy: RandomPolicy, text: TextOutcomes, scores: np.ndarray, costs: np.ndarray) -> dict[str, Any]:
    """Accuracy, cost and action ratios of the random policy on average over all draws, exactly.

    ``avg_cost_sd`` is the standard deviation of a draw's average cost.

    Args:
        scores, costs: of every action, [N, 3].
    """
    chance = policy.probabilities(text, len(scores))
    cost = (chance * costs).sum(axis=1)
    spread = (chance * (costs - cost[:, None]) ** 2).sum(axis=1)  # variance of each question's cost
    return {
        "accuracy": float((chance * scores).sum(axis=1).mean()),
        "avg_cost": float(cost.mean()),
        "avg_cost_sd": float(np.sqrt(spread.sum()) / len(cost)),
        "action_ratio": chance.mean(axis=0).tolist(),
    }
