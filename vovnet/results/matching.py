"""What the random baseline matches: what a finished VoVNet run did (block B3)."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vovnet.actions import USUAL, Action, usual_or
from vovnet.errors import VoVNetError
from vovnet.outcomes.looks import full_pruning
from vovnet.policy.protocol import Target
from vovnet.policy.random_matched import BUCKETS, RandomMatched
from vovnet.results.columns import ResultRow, evaluated, looks_once, rates_of
from vovnet.results.read import predictions_path, read_predictions, read_results
from vovnet.results.write import RESULTS
from vovnet.schema import PruningMode, RunConfig
from vovnet.schema.policy import Ratios

Pruned = tuple[PruningMode, float]


def target_of(options: RandomMatched, config: RunConfig) -> Target:
    """What the random baseline is to match: ratios that are given, or those of a finished run.

    A matched run's FULL must be pruned as the configuration's is, or costs do not match.

    Raises:
        VoVNetError: no run is given, or it holds no fitting VoVNet row.
    """
    looks = usual_or(config.menu)
    given = (options.target_ratios,) if options.target_ratios is not None else options.bucket_ratios
    for ratios in given or ():
        if len(ratios) != len(looks):
            raise VoVNetError(
                f"{len(ratios)} ratios are given for the {len(looks)} looks {', '.join(look.label for look in looks)}; "
                "give policy.baseline.target_ratios or bucket_ratios one for each."
            )
    if given is not None:
        return Target(given, () if options.target_ratios is not None else options.bucket_thresholds, looks=looks)
    if options.match is None:
        raise VoVNetError(
            "random_policy_matched needs policy.baseline.target_ratios=[no,coarse,full], "
            "policy.baseline.match=FOLDER of a VoVNet run, or policy.baseline.bucket_ratios."
        )
    place = Path(options.match).expanduser()
    row = matched_row(place, options.match_lambda, config.dataset.name, config.eval.split, full_pruning(config))
    if options.buckets:
        ratios_of_buckets, thresholds = bucket_ratios(place, options.bucket_thresholds, looks)
        return Target(ratios_of_buckets, thresholds, row.avg_cost, looks)
    rates = rates_of(row)
    if other := [label for label, rate in rates.items() if rate and label not in {look.label for look in looks}]:
        raise _another_menu(place, other[0])
    return Target((tuple(rates.get(look.label, 0.0) for look in looks),), (), row.avg_cost, looks)


def _another_menu(place: Path, label: str) -> VoVNetError:
    return VoVNetError(
        f"{place} is of a VoVNet that answers from {label}, which this configuration's menu does not hold; set "
        "policy.looks or policy.action_space as it was there."
    )


def _fitting_rows(place: Path, pruned: Pruned | None) -> list[ResultRow]:
    """VoVNet's rows of a run, sweep or table whose FULL is the same.

    Raises:
        VoVNetError: there is none, but some whose FULL is another.
    """
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
) -> ResultRow:
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
    if not looks_once(fitting[0]):
        raise VoVNetError(
            f"the policy in {place} may look twice at a question, and actions drawn at its rates cost less than it; "
            "match one that looks once (policy=vovnet)."
        )
    return fitting[0]


def bucket_ratios(
    folder: Path, thresholds: tuple[float, float] | None = None, looks: Sequence[Action] = USUAL
) -> tuple[tuple[Ratios, Ratios, Ratios], tuple[float, float]]:
    """Action rates of a run within three buckets of the text pass's entropy, and the bounds in nats.

    Args:
        thresholds: the bounds; None takes the terciles.
        looks: whose rates.

    Raises:
        VoVNetError: the folder holds no run whose predictions carry entropies, or a bucket is empty.
    """
    path = predictions_path(folder)
    lines = read_predictions(folder)
    try:
        entropy = np.array([line["entropy"] for line in lines], dtype=np.float64)
        labels = np.array([line["action"].lower() for line in lines])
        if not np.isfinite(entropy).all():  # null becomes NaN
            raise ValueError("no entropy")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VoVNetError(f"{path} has no entropy of a text pass; match another VoVNet run.") from error
    if other := {*labels.tolist()} - {look.label for look in looks}:
        raise _another_menu(folder, min(other))
    low, high = thresholds or np.quantile(entropy, [1 / BUCKETS, 2 / BUCKETS]).tolist()
    bucket = np.searchsorted((low, high), entropy, side="right")
    rates = []
    for number in range(BUCKETS):
        members = labels[bucket == number]
        if not len(members):
            raise VoVNetError(f"no sample of {path} has an entropy in bucket {number + 1}; give other thresholds.")
        rates.append(tuple(float((members == look.label).mean()) for look in looks))
    return (rates[0], rates[1], rates[2]), (low, high)
