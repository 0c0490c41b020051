"""Runs that may be compared, with every branch's outcome beside them."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vovnet.actions import USUAL, Action
from vovnet.data import VQADataset, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.inspect import may_hold
from vovnet.outcomes.load import stored_outcomes
from vovnet.outcomes.rows import Outcomes
from vovnet.outcomes.units import Unit, paid_each, unit_of
from vovnet.policy.fixed import Fixed
from vovnet.report.frontier import Curve, curves, fixed_rows, over_seeds, sees_branches
from vovnet.report.labels import point_label
from vovnet.report.runs import Run
from vovnet.results.columns import ResultRow
from vovnet.results.read import predictions_path
from vovnet.schema import RunConfig, in_order
from vovnet.session import Session
from vovnet.terminal import counted
from vovnet.vlm.budget import Budget, budget_of
from vovnet.vlm.files import find_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Branches:
    """What every branch yields on the samples of a study.

    Attributes:
        dataset, config: where the samples come from.
        looks: NO, COARSE, FULL and those of the runs' own menus, cheapest first.
        outcomes: of all of them, from the store.
        budget: what an image may cost.
        unit: of costs.
    """

    dataset: VQADataset
    config: RunConfig
    looks: tuple[Action, ...]
    outcomes: Outcomes
    budget: Budget
    unit: Unit

    def table(self, looks: Sequence[Action]) -> tuple[np.ndarray, np.ndarray]:
        """Scores and normalised costs of some looks, [N, A] each."""
        return self.outcomes.stacked("score", looks), paid_each(self.unit, self.outcomes, looks)

    def beside(self, menu: Iterable[Action]) -> tuple[Action, ...]:
        """NO, COARSE, FULL and a menu's own looks, cheapest first."""
        return tuple(look for look in self.looks if look in USUAL or look in menu)

    @cached_property
    def scores(self) -> np.ndarray:
        """Of NO, COARSE and FULL, [N, 3]."""
        return self.table(USUAL)[0]

    @cached_property
    def costs(self) -> np.ndarray:
        """Of NO, COARSE and FULL, normalised, [N, 3]."""
        return self.table(USUAL)[1]


@dataclass(frozen=True)
class Study:
    """Runs of one protocol.

    Attributes:
        name: data set and split, with a number where several protocols share them.
        runs: in no order that matters.
        branches: None where the outcome store does not hold all of them.
        without: why there are none.
    """

    name: str
    runs: tuple[Run, ...]
    branches: Branches | None
    without: str = ""

    @property
    def rows(self) -> list[ResultRow]:
        """The runs' lines of results.csv."""
        return [run.row for run in self.runs]

    @property
    def curves(self) -> list[Curve]:
        """The runs by method."""
        return curves(self.rows)

    @property
    def looks(self) -> tuple[Action, ...]:
        """NO, COARSE, FULL and those of the runs' own menus, cheapest first."""
        return in_order([*USUAL, *_own_looks(self.runs)], self.runs[0].budget)

    def run_of(self, row: ResultRow) -> Run:
        """Whose line of results.csv this is."""
        return self._by_row[id(row)]

    @cached_property
    def _by_row(self) -> dict[int, Run]:
        return {id(run.row): run for run in self.runs}

    def label_of(self, run: Run) -> str:
        """The point of a run in the plane, for people; runs of one setting share it."""
        return self._labels.get(id(run.row), run.row.baseline_name)

    @cached_property
    def _labels(self) -> dict[int, str]:
        return {id(row): point_label(curve.label, row) for curve in self.curves for row in curve.rows}

    def sees(self, run: Run) -> bool:
        """Whether a run chooses among branches that are known."""
        return self.branches is not None and sees_branches(run.row) and {*run.menu} <= {*self.branches.looks}

    def only(self, methods: Sequence[str]) -> "Study":
        """The fixed policies and some methods, by their curves' labels; all of them for none."""
        if not methods:
            return self
        merged = [curve for curve in over_seeds(self.curves) if curve.label not in methods]
        left_out = {id(row) for curve in merged for rows in curve.points for row in rows}
        return replace(self, runs=tuple(run for run in self.runs if id(run.row) not in left_out))

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


def studies(runs: Sequence[Run], store: str, session: Session | None = None) -> list[Study]:
    """Group runs by protocol and mode, largest group of a data set first; branches come from ``store``."""
    session, groups = session or Session(), dict[str, list[Run]]()
    for run in runs:
        groups.setdefault(json.dumps([run.protocol, run.row.mode], sort_keys=True), []).append(run)
    ordered = sorted(groups.values(), key=lambda g: (g[0].row.shown_dataset, -len(g)))
    names = [_name(group, ordered) for group in ordered]
    return [_study(name, group, store, session) for name, group in zip(names, ordered, strict=True)]


def _study(name: str, group: Sequence[Run], store: str, session: Session) -> Study:
    """A group with its branches, or with the reason why there are none, which is logged too."""
    found = _branches(group, store, session)
    if isinstance(found, Branches):
        return Study(name, tuple(group), found)
    log.warning("%s: no oracle and no sample browser: %s", group[0].folder, found)
    return Study(name, tuple(group), None, found)


def _name(group: Sequence[Run], groups: Sequence[Sequence[Run]]) -> str:
    """Data set and split, and whatever else tells this group from others of the same set."""
    row = group[0].row
    name = row.shown_dataset
    same = [g for g in groups if g[0].row.shown_dataset == name]
    if len(same) == 1:
        return name
    facts = [f"{counted(row.num_samples, 'question')}"] * (len({g[0].row.num_samples for g in same}) > 1)
    facts += [row.mode] * (len({g[0].row.mode for g in same}) > 1)
    keys = [key for key in group[0].protocol if len({g[0].protocol.get(key) for g in same}) > 1]
    pairs = [(g[0].protocol["engine"], g[0].protocol["backbone"]) for g in same]
    if "engine" in keys and len({*pairs}) == len(same):  # what else differs follows from these
        facts, keys = [], ["engine", "backbone"]
    facts += [f"{key}={group[0].protocol[key]}" for key in keys if key != "eval.max_samples"]
    return f"{name}, {', '.join(facts)}"


def _branches(group: Sequence[Run], store: str, session: Session) -> Branches | str:
    """All branches' outcomes of the group's samples, or why there are none.

    A run may come from elsewhere: nothing that its summary names is computed, drawn or downloaded, and nothing is
    opened unless the store has rows of it.
    """
    run = next((r for r in group if r.row.mode == "replay"), None)
    if run is None:
        return "none of these runs was made with eval.mode=replay"
    lacks = (
        f"the outcome store {store} lacks some branches; run `python -m experiments.eval -m "
        "policy/baseline=always_full,always_coarse,no_vision` with this data set"
    )
    prints = [str(run.summary[name]["fingerprint"]) for name in ("backbone", "dataset")]
    if not may_hold(Path(store).expanduser(), *prints):
        return lacks
    try:
        config = _everything(run.config, store)
        checkpoint = find_checkpoint(config.backbone, only_local=True, session=session)
        dataset = load_dataset(config.dataset, config.eval.split, only_local=True, session=session)
        every = in_order([*USUAL, *_own_looks([r for r in group if r.row.mode == "replay"])], config.vision_budget)
        unit = unit_of(config, checkpoint, every)
    except (VoVNetError, OSError) as error:
        return str(error)
    if dataset.fingerprint != prints[1]:
        return "the data set has changed since"
    _check_order(group, dataset)
    for looks in dict.fromkeys((every, USUAL)):
        outcomes = stored_outcomes(config, checkpoint, dataset, looks, run.row.num_samples, session)
        if outcomes is not None:
            budget = budget_of(config.vision_budget, checkpoint)
            return Branches(dataset, config, looks, outcomes, budget, unit)
    return lacks


def _own_looks(runs: Sequence[Run]) -> list[Action]:
    return [look for run in runs for look in run.menu if look not in USUAL]


def _check_order(group: Sequence[Run], dataset: VQADataset) -> None:
    """Refuse predictions of other questions, or in another order: branches are joined to them by their place.

    Raises:
        VoVNetError: names the file.
    """
    count = min(group[0].row.num_samples, len(dataset))
    ids = [dataset[index].id for index in range(count)]  # as many in each: one protocol
    for run in group:
        if run.predictions.id != ids:
            raise VoVNetError(
                f"{predictions_path(run.folder)} holds other questions than {run.row.dataset}, or in another order; "
                "run the evaluation again."
            )


def _everything(config: RunConfig, store: str) -> RunConfig:
    """The same protocol with unpruned branches, read from ``store``."""
    policy = replace(
        config.policy, baseline=Fixed("always_full"), fallback_mode=None, action_space="ternary", looks=None
    )
    return replace(config, policy=policy, paths=replace(config.paths, store=str(Path(store))))
