"""Check points and files of the specification's blocks: thresholds, pruning, seeds, cache reuse."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Configure
from vovnet.analyses.paired_runs import changed_answers, reuse_rows, seed_rows
from vovnet.checks.baselines import pruning_checks, threshold_checks
from vovnet.checks.blocks import answer_checks, generalization_checks, reuse_checks, seed_checks, sweep_checks
from vovnet.report.labels import setting
from vovnet.results.columns import ResultRow
from vovnet.results.evaluate import evaluate
from vovnet.results.sweep import write_tables


@pytest.fixture
def row(configure: Configure, tmp_path: Path) -> ResultRow:
    """A genuine row, to vary."""
    return evaluate(configure("policy/baseline=always_full", "eval.max_samples=8"), tmp_path / "run").row


def test_a_threshold_sweep_is_checked_in_its_own_direction(row: ResultRow) -> None:
    def point(measure: str, threshold: float, looks: float) -> ResultRow:
        return replace(
            row,
            baseline_name="uncertainty_threshold",
            uncertainty_metric=measure,
            vision_mode="full",
            threshold=threshold,
            action_rate_no=1 - looks,
            avg_cost=looks,
        )

    (entropy,) = threshold_checks([point("entropy", 0.1, 0.9), point("entropy", 0.5, 0.2)])
    (margin,) = threshold_checks([point("margin", 0.1, 0.2), point("margin", 0.5, 0.9)])
    (wrong,) = threshold_checks([point("entropy", 0.1, 0.2), point("entropy", 0.5, 0.9)])
    assert (entropy.passed, margin.passed, wrong.passed) == (True, True, False)


def test_a_pruning_sweep_is_checked_and_written(row: ResultRow, tmp_path: Path) -> None:
    pruned = replace(row, baseline_name="vision_token_pruning_proxy", pruning_mode="stride")
    points = [
        replace(pruned, pruning_ratio=ratio, remaining_vision_tokens=tokens, accuracy=score)
        for ratio, tokens, score in ((1.0, 64.0, 0.9), (0.5, 32.0, 0.91), (0.25, 16.0, 0.6))
    ]
    assert [check.passed for check in pruning_checks(points)] == [True, True]
    jump = replace(points[2], accuracy=0.95)
    assert [check.passed for check in pruning_checks([*points[:2], jump])] == [True, False]
    write_tables(tmp_path, [row, *points])
    with (tmp_path / "pareto_pruning.csv").open(newline="") as file:
        assert [line["pruning_ratio"] for line in csv.DictReader(file)] == ["1.0", "0.5", "0.25"]
    assert not (tmp_path / "pareto_threshold.csv").exists()
    write_tables(tmp_path, [row])
    assert not list(tmp_path.glob("pareto_*"))
    assert setting(points[1]) == "vision_token_pruning_proxy stride keep=0.5"


def test_seeds_are_summed_up_per_lambda(row: ResultRow, tmp_path: Path) -> None:
    routed = replace(row, baseline_name="", objective="value", avg_cost=0.5)
    rows = [
        replace(routed, lambda_cost=price, seed=seed, accuracy=accuracy, checkpoint=f"policy{seed}")
        for seed, accuracy in ((42, 0.80), (43, 0.82), (44, 0.84))
        for price in (0.02, 0.1)
    ]
    first, second = seed_rows(rows)
    assert (first["lambda_cost"], second["lambda_cost"], first["seeds"]) == (0.02, 0.1, 3)
    assert first["accuracy_mean"] == pytest.approx(0.82)
    assert first["accuracy_std"] == pytest.approx(0.02)
    assert first["accuracy_spread"] == pytest.approx(0.04)
    assert first["avg_cost_std"] == 0
    assert seed_rows(rows[:2]) == []
    again = [replace(r, checkpoint=f"again/{r.checkpoint}") for r in rows]  # another block's, of the same seeds
    assert seed_rows([*rows, *again]) == seed_rows(rows)
    for name, value in {"training": "0123abcd", "use_straight_through": False}.items():
        other = [replace(r, **{name: value}) for r in rows]  # another training: not more seeds of the first
        assert [line["seeds"] for line in seed_rows([*rows, *other])] == [3] * 4
        assert seed_rows([*rows[:2], *other[2:4]]) == []
    assert [check.passed for check in seed_checks([first])] == [True]
    assert [check.passed for check in seed_checks([first | {"accuracy_std": 0.021}])] == [False]
    write_tables(tmp_path, rows)
    assert (tmp_path / "seeds.csv").exists()
    write_tables(tmp_path, rows[:2])  # run again, and all seeds but one have failed
    assert not (tmp_path / "seeds.csv").exists()


def test_check_points_name_what_tells_policies_apart(row: ResultRow) -> None:
    routed = replace(row, baseline_name="", objective="value", feature_mode="hidden", seed=0, action_rate_no=0.1)
    rows = [
        replace(routed, dataset=name, lambda_cost=price, feature_mode=mode, seed=seed)
        for name in ("mini_mmbench", "mini_mmmu")
        for price in (0.1, 0.2)
        for mode in ("hidden", "hidden_entropy")
        for seed in (0, 1)
    ]
    names = [check.name for check in sweep_checks(rows)]
    assert len(names) == len({*names})
    assert "mini_mmmu, value, feature_mode=hidden_entropy, seed=1: avg_cost never rises with lambda" in names
    ahead = "mini_mmmu chooses FULL more often than mini_mmbench at lambda 0.1, feature_mode=hidden, seed=0"
    assert ahead in names
    seeds = [check.name for check in seed_checks(seed_rows(rows))]
    assert len(seeds) == len({*seeds}) == 8
    assert seeds[0].startswith("mini_mmbench, lambda 0.1, feature_mode=hidden: accuracy deviates")
    alone = [replace(one, feature_mode="hidden", seed=0) for one in rows[::4]]  # nothing to be told apart
    assert "mini_mmmu, value: avg_cost never rises with lambda" in [check.name for check in sweep_checks(alone)]


def test_who_mixes_fixed_policies_need_not_pay_for_a_worse_one(row: ResultRow) -> None:
    points = {"no_vision": (0.0, 0.5), "always_coarse": (0.06, 0.9), "always_full": (1.0, 0.8)}
    fixed = [replace(row, baseline_name=n, avg_cost=c, accuracy=a) for n, (c, a) in points.items()]
    routed = [
        replace(row, baseline_name="", objective="value", lambda_cost=price, avg_cost=0.5, accuracy=accuracy)
        for price, accuracy in ((0.0, 0.87), (0.1, 0.87))
    ]
    (check,) = [c for c in sweep_checks([*fixed, *routed]) if "above random mixing" in c.name]
    assert not check.passed  # COARSE alone has 0.90
    (check,) = [c for c in sweep_checks([*fixed, *(replace(r, accuracy=0.91) for r in routed)]) if "mixing" in c.name]
    assert check.passed


def test_generalisation_is_judged_at_the_smallest_price(row: ResultRow) -> None:
    def point(dataset: str, price: float, no: float, full: float) -> ResultRow:
        return replace(
            row,
            baseline_name="",
            objective="value",
            dataset=dataset,
            lambda_cost=price,
            action_rate_no=no,
            action_rate_full=full,
        )

    rows = [
        point("mini_mmbench", 0.01, 0.5, 0.3),
        point("mini_mmmu", 0.01, 0.2, 0.6),
        point("mini_textvqa", 0.01, 0.1, 0.9),
        point("mini_mmmu", 0.1, 0.9, 0.0),
        point("mini_textvqa", 0, 0.9, 0.0),
    ]
    assert [check.passed for check in generalization_checks(rows)] == [True, True]
    assert [check.passed for check in generalization_checks([rows[0], rows[3], rows[2]])] == [True]
    blind = replace(rows[2], action_rate_no=0.4)
    assert [check.passed for check in generalization_checks([*rows[:2], blind])] == [True, False]
    assert generalization_checks(rows[:1]) == []


def test_cache_reuse_is_compared_between_rows_that_differ_in_nothing_else(row: ResultRow) -> None:
    anew = replace(row, cache_reuse=False, avg_text_tokens=20.0, latency_p50_ms=10.0)
    reused = replace(anew, cache_reuse=True, avg_text_tokens=12.0, latency_p50_ms=8.0)
    other = replace(anew, dataset="other")
    (line,) = reuse_rows([other, anew, reused])
    assert (line["latency_p50_ms_with"], line["latency_p50_ms_without"]) == (8.0, 10.0)
    assert line["latency_p50_ms_ratio"] == pytest.approx(0.8)
    assert line["avg_text_tokens_ratio"] == pytest.approx(0.6)
    assert all(check.passed for check in reuse_checks(reuse_rows([other, anew, reused])))
    assert reuse_checks(reuse_rows([other, anew])) == []

    wrong = [anew, replace(reused, avg_text_tokens=20.0)]
    assert [check.passed for check in reuse_checks(reuse_rows(wrong))] == [False]


def test_cache_reuse_must_change_no_answer_at_all(row: ResultRow, tmp_path: Path) -> None:
    """Two answers that change places leave accuracy, cost and ratios as they are."""
    lines = (tmp_path / "run/predictions.jsonl").read_text().splitlines()
    first, *others = map(json.loads, lines)
    other = next(line for line in others if line["prediction"] != first["prediction"])
    first["prediction"], other["prediction"] = other["prediction"], first["prediction"]
    for name, content in (("same", lines), ("swapped", map(json.dumps, [first, *others]))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.jsonl").write_text("".join(f"{line}\n" for line in content))
    anew, reused = (replace(row, cache_reuse=reuse) for reuse in (False, True))
    (same,) = answer_checks(changed_answers([(anew, tmp_path / "run"), (reused, tmp_path / "same")]))
    assert (same.passed, same.observed) == (True, "8 of 8 questions alike")
    (swapped,) = answer_checks(changed_answers([(anew, tmp_path / "run"), (reused, tmp_path / "swapped")]))
    assert not swapped.passed
    assert swapped.observed.startswith("6 of 8 questions alike, not ")
