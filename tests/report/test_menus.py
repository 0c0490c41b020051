"""Reports over runs with looks of menus' own, beside those of the usual looks."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Configure
from tests.policy.test_route import policy_file
from vovnet.actions import USUAL, Action
from vovnet.analyses.slices import error_kinds
from vovnet.checks.blocks import sweep_checks
from vovnet.metrics.curves import budgeted_oracle, random_score, utility_regret
from vovnet.outcomes.rows import places
from vovnet.policy.decide import choose
from vovnet.report.analysis import decision_lines, known_curves, method_lines, value_runs
from vovnet.report.equal_cost import equal_cost_lines
from vovnet.report.figures import FIGURES
from vovnet.report.labels import point_label
from vovnet.report.page.build import write_page_data
from vovnet.report.report import write_report
from vovnet.report.runs import find_runs
from vovnet.report.study import Study, studies
from vovnet.results.columns import rates_of
from vovnet.results.evaluate import evaluate
from vovnet.schema import ReportConfig

SIZE = 72
COUNT = f"eval.max_samples={SIZE}"
LIMITS = ReportConfig(samples=100, image_megabytes=1.0)
LADDER = ["no", "coarse", "side25", "side40", "full"]
OWN = "policy.looks=[no,{long_side:40},{long_side:64,merge:0.5},full]"
BASELINES = {
    "full": ["policy/baseline=always_full"],
    "coarse": ["policy/baseline=always_coarse"],
    "none": ["policy/baseline=no_vision"],
    "oracle": ["policy/baseline=oracle", "policy.action_space=ladder"],
    "thin": ["policy/baseline=always_look", "policy.baseline.look={long_side:64,merge:0.5}"],
}


@pytest.fixture(scope="module")
def folder(packaged: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of the usual menu, a ladder, the same looked at twice, and a menu of one's own, with baselines."""
    runs = tmp_path_factory.mktemp("menus") / "runs"
    menus = {
        "ternary": (), "ladder": ("policy.action_space=ladder",), "own": (OWN,),
        "again": ("policy=sequential", "policy.action_space=ladder"),
    }  # fmt: skip
    for name, overrides in menus.items():
        given = (f"paths.runs={runs}", COUNT, *overrides)
        file = policy_file(packaged(*given), runs / "train" / name / "policy.safetensors")
        for price in (0.0, 0.1) if name == "ladder" else (0.1,):
            config = packaged(f"eval.checkpoint={file}", f"policy.lambda_cost={price}", *given)
            evaluate(config, runs / f"{name}_{price}")
    for name, own in BASELINES.items():
        evaluate(packaged(f"paths.runs={runs}", COUNT, *own), runs / name)
    match = ["policy/baseline=random_policy_matched", f"policy.baseline.match={runs / 'ladder_0.1'}"]
    evaluate(packaged(f"paths.runs={runs}", COUNT, "policy.action_space=ladder", *match), runs / "random")
    return runs


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    (found,) = studies(find_runs([folder]).runs, str(folder / "outcomes"))
    return found


def test_rates_follow_the_menu(folder: Path) -> None:
    rows = {run.folder.name: run.row for run in find_runs([folder]).runs}
    assert [*rates_of(rows["ladder_0.1"])] == ["no", "coarse", "full", "side25", "side40"]
    assert [*rates_of(rows["ternary_0.1"])] == ["no", "coarse", "full"]
    assert rates_of(rows["thin"]) == {"no": 0, "coarse": 0, "full": 0, "side64_merge50": 1}
    assert all(sum(rates_of(row).values()) == pytest.approx(1) for row in rows.values())
    assert (rows["thin"].pruning_mode, rows["thin"].pruning_ratio, rows["thin"].long_side) == ("merge", 0.5, 64)
    spaces = {row.action_space for row in rows.values() if not row.baseline_name}
    assert spaces == {"ternary", "ladder", "no-side40-side64_merge50-full"}
    line = json.loads((folder / "ladder_0.1/predictions.jsonl").read_text().splitlines()[0])
    assert [*line["values"]] == LADDER
    assert [*json.loads((folder / "ladder_0.1/summary.json").read_text())["menu"]] == LADDER
    with (folder / "ladder_0.1/categories.csv").open(newline="") as file:
        assert {"rate.side25", "rate.side40"} <= {*next(csv.reader(file))}


def test_a_random_policy_matches_a_ladders_rates(folder: Path) -> None:
    rows = {run.folder.name: run.row for run in find_runs([folder]).runs}
    summary = json.loads((folder / "random/summary.json").read_text())
    target = rates_of(rows["ladder_0.1"])
    assert dict(zip(summary["expected"]["looks"], summary["expected"]["action_ratio"], strict=True)) == pytest.approx(
        {label: target[label] for label in LADDER}
    )
    assert summary["expected"]["avg_cost"] == pytest.approx(rows["ladder_0.1"].avg_cost, rel=0.5)


def test_the_looks_of_all_runs_are_known_cheapest_first(study: Study) -> None:
    assert study.branches is not None
    assert [look.label for look in study.looks] == ["no", "coarse", "side25", "side40", "side64_merge50", "full"]
    assert study.branches.looks == study.looks
    costs = study.branches.table(study.looks)[1].mean(axis=0)
    assert (np.diff(costs) > 0).all()
    assert np.array_equal(study.branches.scores, study.branches.table(USUAL)[0])


def test_choices_are_compared_with_the_looks_of_their_own_menu(study: Study) -> None:
    assert study.branches is not None
    lines = {line["policy"]: line for line in decision_lines(study)}
    runs = {run.folder.name: run for run in study.runs}
    menu, differ = tuple(look for look in study.looks if look.label in LADDER), []
    for name, looks in (("ternary_0.1", USUAL), ("ladder_0.1", menu), ("ladder_0.0", menu)):
        row, chosen = runs[name].row, runs[name].predictions.action
        line = lines[next(point_label(curve.label, row) for curve in study.curves if row in curve.rows)]
        scores, costs = study.branches.table(looks)
        assert line["right_choice"] == (error_kinds(scores, places(looks, chosen)) == 0).mean()
        price = row.lambda_cost or 0.0
        assert line["utility_regret"] == utility_regret(scores, costs, places(looks, chosen), price)
        every = utility_regret(*study.branches.table(study.looks), places(study.looks, chosen), price)
        differ.append(every > line["utility_regret"])
    assert any(differ)
    assert not any("sequential" in name for name in lines)
    oracle = budgeted_oracle(*study.branches.table(menu))
    best = runs["oracle"].row
    assert best.accuracy == pytest.approx(oracle.accuracies[-1])
    labels = {curve.label for curve in known_curves(study)}
    gaps = {line["method"]: line["oracle_gap_closed"] for line in method_lines(study)}
    assert all((gaps[label] is not None) == (label in labels) for label in gaps)


def test_at_equal_cost_actions_are_drawn_among_the_menus_own_looks(study: Study) -> None:
    assert study.branches is not None
    runs, drawn = {run.folder.name: run for run in study.runs}, dict[str, int]()
    for line in equal_cost_lines(study):
        if line["baseline"] != "random, matched":
            continue
        run = next(run for run in runs.values() if not run.row.baseline_name and run.row.avg_cost == line["avg_cost"])
        shares, looks = rates_of(run.row), study.branches.beside(run.menu)
        rates = np.array([shares[look.label] for look in looks])
        assert line["baseline_accuracy"] == pytest.approx(random_score(rates, study.branches.table(looks)[0]))
        assert line["baseline_cost"] == pytest.approx(random_score(rates, study.branches.table(looks)[1]))
        drawn[run.row.action_space or ""] = len(looks)
    assert drawn == {"ternary": 3, "ladder": 5, "no-side40-side64_merge50-full": 5}


def test_the_page_decides_as_each_policy_does(study: Study, folder: Path) -> None:
    assert study.branches is not None
    (data,) = write_page_data(find_runs([folder]), [study], {}, {}, LIMITS)["studies"]
    assert data["looks"] == [look.label.upper() for look in study.looks]
    scores, costs = (np.array(data["samples"][name]).T for name in ("score", "cost"))
    assert (scores.shape, costs.shape) == ((SIZE, 6), (SIZE, 6))
    by_label = {curve.label: run for curve, run in value_runs(study)}
    assert len(data["policies"]) == 3
    for policy in data["policies"]:
        run, space = by_label[policy["label"]], policy["space"]
        assert [study.looks[place].label for place in space] == [*run.predictions.valued]
        chosen = np.array(space)[choose(np.array(policy["values"]).T, costs[:, space], run.row.lambda_cost or 0.0)]
        assert np.array_equal(chosen, places(study.looks, run.predictions.action))
    full = next(one["actions"] for one in data["choices"] if one["label"] == "always_full")
    assert full == [study.looks.index(Action.FULL)] * SIZE


def test_every_figure_and_table_is_made(study: Study, folder: Path, tmp_path: Path) -> None:
    assert {name for name, draw in FIGURES.items() if draw(study) is not None} >= {
        "frontier", "action_ratio", "kept_accuracy", "calibration", "utility_regret",
    }  # fmt: skip
    assert sweep_checks([run.row for run in study.runs])
    write_report([folder], str(folder / "outcomes"), LIMITS, tmp_path)
    with (tmp_path / "action_ratio.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    place = columns.index("action_rate_full")
    assert columns[place + 1 : place + 4] == ["rate.side25", "rate.side40", "rate.side64_merge50"]
    assert "SIDE64_MERGE50" in (tmp_path / "action_ratio.md").read_text()


def test_looks_that_the_store_lacks_leave_the_usual_ones(folder: Path, packaged: Configure, tmp_path: Path) -> None:
    own = [f"paths.runs={tmp_path}", COUNT]
    for name in ("full", "coarse", "none"):
        evaluate(packaged(*own, *BASELINES[name]), tmp_path / name)
    evaluate(packaged(*own, "policy/baseline=uncertainty_threshold"), tmp_path / "text")
    (study,) = studies(find_runs([folder]).runs, str(tmp_path / "outcomes"))
    assert study.branches is not None
    assert study.branches.looks == USUAL
    assert {run.row.action_space for _, run in value_runs(study)} == {"ternary"}
