"""Runs that may be compared, with every branch's outcome beside them."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vovnet.actions import Action
from vovnet.backbone.budget import make_budget
from vovnet.backbone.files import find_checkpoint
from vovnet.data import VQADataset, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import stored_outcomes
from vovnet.outcomes.rows import Outcomes
from vovnet.report.curves import Curve, curves, fixed_rows
from vovnet.report.runs import Run
from vovnet.results.row import ResultRow
from vovnet.results.write import PREDICTIONS
from vovnet.schema import FixedBaseline, RunConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Branches:
    """What every branch yields on the samples of a study.

    Attributes:
        dataset, config: where the samples and their budget come from.
        outcomes: of all three branches, from the store.
        scores, costs: [N, 3], NO, COARSE and FULL; costs normalised.
    """

    dataset: VQADataset
    config: RunConfig
    outcomes: Outcomes
    scores: np.ndarray
    costs: np.ndarray


@dataclass(frozen=True)
class Study:
    """Runs of one protocol.

    Attributes:
        name: data set and split, with a number where several protocols share them.
        runs: in no order that matters.
        branches: None where the outcome store does not hold all of them.
    """

    name: str
    runs: tuple[Run, ...]
    branches: Branches | None

    @property
    def rows(self) -> list[ResultRow]:
        """The runs' lines of results.csv."""
        return [run.row for run in self.runs]

    @property
    def curves(self) -> list[Curve]:
        """The runs by method."""
        return curves(self.rows)

    @property
    def fixed(self) -> dict[str, ResultRow]:
        """The fixed policies, by name."""
        return fixed_rows(self.rows)

    @property
    def ends(self) -> tuple[ResultRow, ResultRow] | None:
        """no_vision and always_full, between which everything lies; None where one was not run."""
        fixed = self.fixed
        if "no_vision" not in fixed or "always_full" not in fixed:
            return None
        return fixed["no_vision"], fixed["always_full"]


def studies(runs: Sequence[Run], store: str) -> list[Study]:
    """Group runs by protocol and mode, largest group of a data set first; branches come from ``store``."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.protocol, run.row.mode], sort_keys=True), []).append(run)
    ordered = sorted(groups.values(), key=lambda g: (g[0].row.dataset, g[0].row.split, -len(g)))
    names = [_name(group, ordered) for group in ordered]
    return [Study(name, tuple(group), _branches(group, store)) for name, group in zip(names, ordered, strict=True)]


def _name(group: Sequence[Run], groups: Sequence[Sequence[Run]]) -> str:
    """Data set and split, and whatever else tells this group from others of the same set."""
    row = group[0].row
    same = [g for g in groups if (g[0].row.dataset, g[0].row.split) == (row.dataset, row.split)]
    name = f"{row.dataset}/{row.split}"
    if len(same) == 1:
        return name
    facts = [f"{row.num_samples} questions"] * (len({g[0].row.num_samples for g in same}) > 1)
    facts += [row.mode] * (len({g[0].row.mode for g in same}) > 1)
    keys = [key for key in group[0].protocol if len({g[0].protocol.get(key) for g in same}) > 1]
    facts += [f"{key}={group[0].protocol[key]}" for key in keys if key != "eval.max_samples"]
    return f"{name}, {', '.join(facts)}"


def _branches(group: Sequence[Run], store: str) -> Branches | None:
    """All branches' outcomes of the group's samples, without computing any."""
    run = next((r for r in group if r.row.mode == "replay"), None)
    if run is None:
        return None
    try:
        config = _everything(run.config, store)
        checkpoint, dataset = find_checkpoint(config.backbone), load_dataset(config.dataset, config.eval.split)
    except VoVNetError as error:
        log.warning("%s: no sample browser and no oracle: %s", run.folder, error)
        return None
    if dataset.fingerprint != run.summary["dataset"]["fingerprint"]:
        log.warning("%s: the data set has changed since; no sample browser and no oracle", run.folder)
        return None
    _check_order(group, dataset)
    outcomes = stored_outcomes(config, checkpoint, dataset, tuple(Action), run.row.num_samples)
    if outcomes is None:
        log.warning(
            "%s: the outcome store %s lacks some branches, so there is no oracle and no sample browser; run "
            "`python -m experiments.eval -m policy/baseline=always_full,always_coarse,no_vision` with this data set.",
            run.folder, store,
        )  # fmt: skip
        return None
    budget = make_budget(config.vision_budget, checkpoint.patch_size, checkpoint.merge_size)
    actions = tuple(Action)
    costs = outcomes.stacked("vision_tokens", actions) / budget.max_tokens
    return Branches(dataset, config, outcomes, outcomes.stacked("score", actions), costs)


def _check_order(group: Sequence[Run], dataset: VQADataset) -> None:
    """Refuse predictions of other questions, or in another order: branches are joined to them by their place.

    Raises:
        VoVNetError: names the file.
    """
    ids = [dataset[index].id for index in range(group[0].row.num_samples)]  # as many in each: one protocol
    for run in group:
        if run.predictions.id != ids:
            raise VoVNetError(
                f"{run.folder / PREDICTIONS} holds other questions than {run.row.dataset}, or in another order; run "
                "the evaluation again."
            )


def _everything(config: RunConfig, store: str) -> RunConfig:
    """The same protocol with unpruned branches, read from ``store``."""
    policy = replace(config.policy, baseline=FixedBaseline("always_full"), fallback_mode=None, action_space="ternary")
    return replace(config, policy=policy, paths=replace(config.paths, store=str(Path(store))))
