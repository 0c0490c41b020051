"""VoVNet against every baseline at equal cost, and the summary that a reader goes by."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vovnet.metrics.curves import budgeted_oracle, concave_hull, random_score
from vovnet.metrics.equal_cost import Settings
from vovnet.report.analysis import Line, point
from vovnet.report.equal_cost import COLUMNS, baseline_settings, corrected, equal_cost_lines, fixed_runs, settings_of
from vovnet.report.equal_cost_summary import NOT_RUN, kept_share, summary_lines, summary_sentences, summary_view
from vovnet.report.predictions import Predictions
from vovnet.report.runs import Run, find_runs
from vovnet.report.study import Study, studies
from vovnet.results.columns import RATES


@pytest.fixture(scope="module")
def study(runs: Path) -> Study:
    """The replayed runs: the fixed policies, a threshold, a pruning, the oracle, and VoVNet at three lambdas, which
    decide alike, and at a fourth, which always looks at the whole image."""
    found = studies(find_runs([runs]).runs, str(runs / "outcomes"))[0]
    own = next(run for run in found.runs if not run.row.baseline_name)
    other = next(run for run in found.runs if run.row.baseline_name == "always_full")
    named = ("accuracy", "avg_cost", *RATES)
    row = replace(own.row, lambda_cost=0.9, **{name: getattr(other.row, name) for name in named})
    return replace(found, runs=(*found.runs, Run(other.folder, row, own.summary)))


@pytest.fixture(scope="module")
def lines(study: Study) -> list[Line]:
    return corrected(equal_cost_lines(study))


def with_seeds(study: Study, seeds: int, **changes: object) -> Study:
    """The same study with further policies, which do as the trained one does."""
    twins = [
        Run(run.folder, replace(run.row, seed=seed, checkpoint=f"{changes} {seed}", **changes), run.summary)
        for run in study.runs
        for seed in range(1, seeds)
        if not run.row.baseline_name
    ]
    return replace(study, runs=(*study.runs, *twins))


def test_vovnet_meets_every_baseline_at_its_own_cost(study: Study, lines: list[Line]) -> None:
    assert study.branches is not None
    assert {line["baseline"] for line in lines} == {
        "random, matched", "random, matched by entropy", "random mixing", "uncertainty_threshold entropy full",
        "vision_token_pruning_proxy stride",
    }  # fmt: skip
    by_price = {f"VoVNet, λ = {row.lambda_cost:g}": row for row in study.rows if not row.baseline_name}
    assert {line["policy"] for line in lines} == {"VoVNet, λ = 0, 0.1, 0.5", "VoVNet, λ = 0.9"}  # no win counts twice
    for line in lines:
        assert set(line) == set(COLUMNS)
        row = by_price[line["policy"].replace("0, 0.1, 0.5", "0.1")]
        assert line["ci_low"] <= line["difference"] <= line["ci_high"]
        assert line["difference"] == pytest.approx(line["accuracy"] - line["baseline_accuracy"])
        assert line["avg_cost"] == pytest.approx(row.avg_cost)
        assert line["resampled"] == "images, given this policy"
        assert line["p_holm"] >= line["p_value"]
        settings = [other.avg_cost for other in study.rows if line["baseline"].startswith(other.baseline_name or "no")]
        if settings:
            assert line["in_range"] == (min(settings) - 1e-9 <= row.avg_cost <= max(settings) + 1e-9)
        else:
            assert line["in_range"]  # whatever is drawn or mixed of the fixed policies reaches any cost between them
        if line["baseline"] == "random, matched":
            rates = np.array([row.action_rate_no, row.action_rate_coarse, row.action_rate_full])
            assert line["baseline_accuracy"] == pytest.approx(random_score(rates, study.branches.scores))
        elif "matched" not in line["baseline"]:
            assert line["baseline_cost"] <= row.avg_cost + 1e-9


def test_every_baseline_may_mix_with_all_fixed_policies(study: Study) -> None:
    fixed = fixed_runs(study)
    assert list(fixed) == ["no_vision", "always_coarse", "always_full"]
    for settings in baseline_settings(study, settings_of(fixed.values())).values():
        for place, run in enumerate(fixed.values()):
            assert np.array_equal(settings.scores[:, place], run.predictions.score)
            assert np.array_equal(settings.costs[:, place], run.predictions.cost)


def test_runs_of_a_baseline_that_differ_in_their_seed_are_one_setting(study: Study) -> None:
    (pruned,) = (run for run in study.runs if run.row.pruning_ratio is not None)
    (full,) = (run for run in study.runs if run.row.baseline_name == "always_full")
    row = replace(pruned.row, seed=1, accuracy=full.row.accuracy, avg_cost=full.row.avg_cost)
    other = Run(full.folder, row, full.summary)
    both = replace(study, runs=(*study.runs, other))
    settings = baseline_settings(both, settings_of(fixed_runs(both).values()))["vision_token_pruning_proxy stride"]
    assert settings.scores.shape[1] == 4
    assert np.allclose(settings.scores[:, 3], (pruned.predictions.score + full.predictions.score) / 2)


def test_policies_of_several_seeds_count_together(study: Study, lines: list[Line]) -> None:
    alone = [line for line in lines if line["policy"].endswith("λ = 0.9")]
    together = [line for line in equal_cost_lines(with_seeds(study, 2)) if line["policy"].endswith("λ = 0.9")]
    assert [line["policies"] for line in alone] == [1] * len(alone)
    assert [line["policies"] for line in together] == [2] * len(alone)
    assert {line["resampled"] for line in together} == {"seeds and images"}
    assert [line["difference"] for line in together] == pytest.approx([line["difference"] for line in alone])
    assert [line["policies_above"] for line in together] == [2 * line["policies_above"] for line in alone]
    seed = study.rows[0].seed
    twins = [run for run in with_seeds(study, 2).runs if run.row.seed != seed]
    again = [Run(run.folder, replace(run.row, checkpoint="a third", seed=seed), run.summary) for run in twins]
    repeated = equal_cost_lines(replace(study, runs=(*study.runs, *again)))
    assert {line["policies"] for line in repeated} == {1}  # one seed, trained twice


def test_the_summary_counts_what_the_lines_say(study: Study, lines: list[Line]) -> None:
    summary = summary_lines([study], lines)
    assert {line["baseline"] for line in summary} == {line["baseline"] for line in lines}
    for line in summary:
        cell = [one for one in lines if one["baseline"] == line["baseline"]]
        above = [one for one in cell if one["p_holm"] < 0.05 and one["difference"] > 0]
        below = [one for one in cell if one["p_holm"] < 0.05 and one["difference"] < 0]
        assert (line["comparisons"], line["wins"], line["losses"]) == (len(cell), len(above), len(below))
        there = [one for one in cell if one["in_range"]]
        assert (line["in_range"], line["wins_in_range"]) == (len(there), len([one for one in above if one in there]))
        assert line["wins"] + line["ties"] + line["losses"] == line["comparisons"]
        assert line["median_difference"] == np.median([one["difference"] for one in cell])
        assert line["corrected_over"] == len(lines)
        for name in ("share", "baseline_share"):
            assert 0 <= line[f"{name}_low"] <= line[name] <= line[f"{name}_high"] <= 1
        assert line["reason"] == ""
    both = with_seeds(study, 2)
    for one, two in zip(summary, summary_lines([both], corrected(equal_cost_lines(both))), strict=True):
        assert two["policies"] == 2
        assert (two["share"], two["baseline_share"]) == pytest.approx((one["share"], one["baseline_share"]))
    assert f"wins (Holm over {len(lines)})" in [column.heading for column in summary_view(summary)]


def test_wins_are_corrected_over_all_data_sets(study: Study, lines: list[Line]) -> None:
    """The p-value that is a win among the comparisons of one set may be none among those of many."""
    best = min(range(len(lines)), key=lambda place: lines[place]["p_value"])
    clear = [line | {"p_value": 0.04 / len(lines) if place == best else 0.9} for place, line in enumerate(lines)]
    assert corrected(clear)[best]["p_holm"] < 0.05
    elsewhere = [line | {"dataset": "another"} for line in clear if line["p_value"] == 0.9]
    assert corrected([*clear, *elsewhere])[best]["p_holm"] > 0.05


def test_random_mixing_keeps_an_accuracy_at_the_cost_where_its_line_is(study: Study, lines: list[Line]) -> None:
    """Its frontier over all questions is a line between two fixed policies; halves choose the same two here."""
    (found,) = {line["baseline_share"] for line in summary_lines([study], lines) if line["baseline"] == "random mixing"}
    points = sorted((row.avg_cost, row.accuracy) for row in study.fixed.values())
    full = study.fixed["always_full"]
    expected = min(
        before[0] + (full.accuracy - 0.01 - before[1]) / (after[1] - before[1]) * (after[0] - before[0])
        for before, after in pairwise(points)
        if before[1] < full.accuracy - 0.01 <= after[1]
    )
    assert found == pytest.approx(expected / full.avg_cost, abs=0.02)


def test_settings_of_vovnet_are_compared_apart(study: Study) -> None:
    """Such as a second way to decide, or other training options; each mixes its own lambdas."""
    both = with_seeds(study, 2, feature_mode="hidden")
    assert {row.feature_mode for row in both.rows if not row.baseline_name} == {"hidden_entropy_margin", "hidden"}
    summary = summary_lines([both], corrected(equal_cost_lines(both)))
    assert len({line["method"] for line in summary}) == 2
    sentences = summary_sentences(summary)
    assert len(sentences) == 2
    for sentence in sentences:
        assert re.search(
            r"at the cost of 5 baselines: \d+ wins, \d+ ties, \d+ losses \(p < 0.05, Holm over 20;", sentence
        )


def test_without_always_full_the_summary_says_why_cells_are_empty(study: Study) -> None:
    rest = replace(study, runs=tuple(run for run in study.runs if run.row.baseline_name != "always_full"))
    summary = summary_lines([rest], corrected(equal_cost_lines(rest)))
    assert summary
    assert {(line["share"], line["baseline_share"], line["reason"]) for line in summary} == {(None, None, NOT_RUN)}
    assert "empty because" in [column.heading for column in summary_view(summary)]


def test_few_images_are_not_compared(
    study: Study, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vovnet.report.equal_cost.FEWEST_GROUPS", 1000)
    assert equal_cost_lines(study) == []
    assert "too few images" in caplog.text


def test_nothing_is_compared_without_no_vision_or_vovnet(study: Study) -> None:
    for name in ("no_vision", ""):
        rest = replace(study, runs=tuple(run for run in study.runs if run.row.baseline_name != name))
        assert equal_cost_lines(rest) == []
        assert corrected([]) == summary_lines([rest], []) == summary_sentences([]) == []


def test_a_policy_that_looks_twice_is_compared_with_what_costs_as_much(study: Study) -> None:
    """Single looks at its final rates would cost less, so none are drawn; the gap begins at random mixing."""
    assert study.branches is not None
    own = next(run for run in study.runs if not run.row.baseline_name)
    cheap = next(run for run in study.runs if run.row.pruning_ratio is not None)  # ends in FULL, at less than its cost
    named = ("accuracy", "avg_cost", *RATES)
    row = replace(own.row, lambda_cost=0.7, avg_looks=1.4, **{name: getattr(cheap.row, name) for name in named})
    others = [run for run in study.runs if run.row.baseline_name]
    twice = [*others, Run(cheap.folder, row, own.summary)]
    lines = equal_cost_lines(replace(study, runs=tuple(twice)))
    assert {line["baseline"] for line in lines} == {
        "random mixing", "uncertainty_threshold entropy full", "vision_token_pruning_proxy stride",
    }  # fmt: skip
    mixing = concave_hull([point(row) for row in study.fixed.values()])
    oracle = budgeted_oracle(study.branches.scores, study.branches.costs)
    for line in lines:
        low, high = float(mixing.at(line["avg_cost"])), float(oracle.at(line["avg_cost"]))
        assert line["gap_closed"] == pytest.approx((line["accuracy"] - low) / (high - low))


def test_the_interval_of_a_cost_covers_the_truth() -> None:
    """Of a method whose accuracies are known, over seeds that differ and images; halves choose its settings."""
    rng, size, covered, widths, trials = np.random.default_rng(0), 200, 0, [], 40
    costs, accuracies = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), np.array([0.3, 0.5, 0.7, 0.83, 0.88, 0.9])
    truth = float(np.interp(0.89, accuracies, costs))
    for _ in range(trials):
        hard = rng.random((size, 1))
        seeds = []
        for shift in 0.01 * rng.normal(size=3):
            right = np.where(rng.random((size, 1)) < 0.9, hard, rng.random((size, 1))) < accuracies + shift
            right[:, -1] = hard[:, 0] < 0.9
            seeds.append(Settings(right.astype(float), np.tile(costs, (size, 1))))
        nothing = np.zeros(size)
        full = Predictions([""] * size, np.arange(size), nothing, nothing, seeds[0].scores[:, -1], np.ones(size),
                           nothing, nothing, None)  # fmt: skip
        found = kept_share(seeds, full, last=5)
        assert found.low is not None
        covered += found.low <= truth <= (found.high or 1)
        widths.append((found.high or 1) - found.low)
    assert covered / trials >= 0.85
    assert np.mean(widths) < 0.29  # paired with always_full; 0.35 if not
