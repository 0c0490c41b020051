"""Baselines: what they choose, and what the specification expects of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure, compose_config
from tests.policy.test_route import COUNT, policy_file
from vovnet.actions import USUAL, Action
from vovnet.checks.baselines import draw_checks
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, Outcomes, TextOutcomes, no_text
from vovnet.policy.fixed import Always
from vovnet.policy.oracle import Oracle
from vovnet.policy.protocol import SPLIT, TEXT, Seen, Target, View
from vovnet.policy.random_matched import Draw, uniform
from vovnet.policy.steps import chosen_of
from vovnet.policy.uncertainty import Cascade, Fallback, UncertaintyThreshold
from vovnet.results.columns import ResultRow, rates_of
from vovnet.results.evaluate import evaluate
from vovnet.results.matching import bucket_ratios
from vovnet.schema import RunConfig

SPACE = USUAL
COSTS = np.tile([0.0, 0.0625, 1.0], (1000, 1))
shares = st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any)


def text(entropy: np.ndarray) -> TextOutcomes:
    hidden = BlockRows([np.zeros((len(entropy), 1), dtype=np.float32)])
    return TextOutcomes(hidden, entropy, 1 / (1 + entropy), np.ones(len(entropy), dtype=np.int32))


def scored(scores: np.ndarray) -> Outcomes:
    """Outcomes of which only the scores [N, 3] matter."""
    size = len(scores)
    zeros = {name: np.zeros(size) for name in BranchOutcomes.__dataclass_fields__}
    return Outcomes(no_text(size), {a: BranchOutcomes(**{**zeros, "score": scores[:, int(a)]}) for a in SPACE})


def threshold(measure: str, limit: float, vision: str) -> UncertaintyThreshold:
    return UncertaintyThreshold("uncertainty_threshold", measure, limit, vision)  # type: ignore[arg-type]


def oracle(rule: str, scores: np.ndarray, costs: np.ndarray, lambda_cost: float = 0.0) -> np.ndarray:
    return chosen_of(Oracle("oracle", rule).over(SPACE, lambda_cost), scored(scores), costs).actions  # type: ignore[arg-type]


def run(configure: Configure, folder: Path, *overrides: str) -> ResultRow:
    return evaluate(configure(COUNT, *overrides), folder).row


@given(st.lists(st.floats(0, 5), min_size=1), st.floats(0, 5), st.floats(0, 5))
def test_a_lower_entropy_threshold_looks_at_least_as_often(entropies: list[float], one: float, two: float) -> None:
    read = text(np.array(entropies))
    rows = np.arange(len(entropies))
    low, high = (threshold("entropy", t, "full").step(View(rows, text=read)) for t in sorted((one, two)))
    assert (low.looks >= high.looks).all()


def test_thresholds_that_are_reached_count() -> None:
    read, rows = text(np.array([0.4, 0.5, 0.6])), np.arange(3)
    entropy = threshold("entropy", 0.5, "coarse").step(View(rows, text=read))
    assert entropy.looks.tolist() == [Action.NO, Action.COARSE, Action.COARSE]
    margin = threshold("margin", float(read.margin[1]), "full").step(View(rows, text=read))
    assert margin.looks.tolist() == [Action.NO, Action.FULL, Action.FULL]


@given(shares, st.integers(0, 2**32 - 1))
def test_random_ratios_are_near_their_target_and_zero_never_drawn(weights: list[int], seed: int) -> None:
    no, coarse, full = (w / sum(weights) for w in weights)
    drawn = Draw(Target(((no, coarse, full),), ()), seed).step(View(np.arange(1000))).looks
    rates = [(drawn == a).mean() for a in SPACE]
    assert np.allclose(rates, [no, coarse, full], atol=0.09)  # five standard deviations
    assert all(rate == 0 for rate, share in zip(rates, (no, coarse, full), strict=True) if share == 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_a_draw_depends_on_seed_and_row_alone(seed: int, cut: int) -> None:
    rows = np.arange(400)
    assert np.array_equal(uniform(seed, rows)[cut:], uniform(seed, rows[cut:]))
    assert not np.array_equal(uniform(seed, rows), uniform(seed + 1, rows))


def test_the_expectation_is_the_mean_over_draws() -> None:
    rng = np.random.default_rng(0)
    scores, read, rows = rng.random((200, 3)), text(rng.random(200)), np.arange(200)
    ratios = ((0.5, 0.3, 0.2), (0.1, 0.2, 0.7), (0.0, 0.0, 1.0))
    drawn = []
    for seed in range(400):
        actions = Draw(Target(ratios, (0.3, 0.6)), seed).step(View(rows, text=read)).looks
        drawn.append((scores[rows, actions].mean(), COSTS[rows, actions].mean()))
    expected = Draw(Target(ratios, (0.3, 0.6)), 0).expectation(View(rows, text=read), scores, COSTS[:200])
    accuracy, cost = np.mean(drawn, axis=0)
    assert accuracy == pytest.approx(expected["accuracy"], abs=0.005)
    assert cost == pytest.approx(expected["avg_cost"], abs=0.005)
    assert np.std(drawn, axis=0)[1] == pytest.approx(expected["avg_cost_sd"], rel=0.15)


@given(st.integers(0, 2**32 - 1), st.floats(0, 2), st.floats(0, 2))
def test_the_oracle_is_the_best_there_is(seed: int, one: float, two: float) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (50, 3)) / 3
    costs, rows = COSTS[:50], np.arange(50)
    best = oracle("cheapest_correct", scores, costs)
    assert np.array_equal(scores[rows, best], scores.max(axis=1))
    assert np.array_equal(best, scores.argmax(axis=1))  # the first, so the cheapest, of the best
    for price in (one, two):
        chosen = oracle("utility", scores, costs, price)
        assert np.allclose((scores - price * costs)[rows, chosen], (scores - price * costs).max(axis=1))


def test_the_cascade_pays_for_both_passes(configure: Configure, tmp_path: Path) -> None:
    coarse, full = (run(configure, tmp_path, f"policy/baseline=always_{name}") for name in ("coarse", "full"))
    everyone = run(configure, tmp_path, "policy/baseline=cascade", "policy.baseline.threshold=1")
    nobody = run(configure, tmp_path, "policy/baseline=cascade", "policy.baseline.threshold=0")
    for column in ("avg_cost", "avg_vision_tokens", "avg_patches", "avg_text_tokens", "prefill_gflops"):
        together = getattr(coarse, column) + getattr(full, column)
        assert getattr(everyone, column) == pytest.approx(together), column
        assert getattr(nobody, column) == pytest.approx(getattr(coarse, column)), column
    assert everyone.accuracy == full.accuracy
    assert nobody.accuracy == coarse.accuracy


@pytest.mark.parametrize("mode", ["replay", "live"])
def test_a_cascades_predictions_add_up_to_its_row(configure: Configure, tmp_path: Path, mode: str) -> None:
    config = configure("policy/baseline=cascade", "policy.baseline.threshold=3e-5", f"eval.mode={mode}", COUNT)
    evaluation = evaluate(config, tmp_path / mode)
    again = evaluation.routed.looks == 2
    assert 0 < again.mean() < 1
    lines = [json.loads(line) for line in (tmp_path / mode / "predictions.jsonl").read_text().splitlines()]
    for name, column in (("vision_tokens", "avg_vision_tokens"), ("cost", "avg_cost")):
        assert np.mean([line[name] for line in lines]) == pytest.approx(getattr(evaluation.row, column))
    tokens = {line["vision_tokens"] for line, looked_again in zip(lines, again, strict=True) if looked_again}
    assert min(tokens) > max(line["vision_tokens"] for line, twice in zip(lines, again, strict=True) if not twice)


def test_a_fallback_raises_uncertain_nos_only(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    given = (f"eval.checkpoint={path}", "policy.lambda_cost=0.3")
    plain = run(configure, tmp_path, *given)
    never = run(configure, tmp_path, *given, "policy.fallback_mode=full", "policy.fallback_entropy_threshold=99")
    always = run(configure, tmp_path, *given, "policy.fallback_mode=coarse", "policy.fallback_entropy_threshold=0")
    assert plain.fallback_trigger_rate is None
    assert (never.fallback_trigger_rate, never.action_ratio) == (0.0, plain.action_ratio)
    assert 0 < plain.action_rate_no == always.fallback_trigger_rate
    assert always.action_rate_no == 0
    assert always.action_rate_full == plain.action_rate_full


def test_actions_are_not_matched_to_a_policy_that_may_look_twice(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure("policy=sequential"), tmp_path / "policy.safetensors")
    evaluate(configure("policy=sequential", f"eval.checkpoint={path}", COUNT), tmp_path / "run")
    matched = ("policy/baseline=random_policy_matched", f"policy.baseline.match={tmp_path / 'run'}")
    with pytest.raises(VoVNetError, match="may look twice at a question"):
        run(configure, tmp_path, *matched)


def test_a_fallback_s_look_takes_its_place_in_a_menu(configure: Configure, tmp_path: Path) -> None:
    menu = "policy.looks=[no,{long_side:8},full]"
    path = policy_file(configure(menu), tmp_path / "policy.safetensors")
    row = run(
        configure, tmp_path, f"eval.checkpoint={path}", menu,
        "policy.fallback_mode=coarse", "policy.fallback_entropy_threshold=0", "policy.lambda_cost=0.3",
    )  # fmt: skip
    assert row.action_rate_no == 0


def test_resolution_scaling_costs_between_coarse_and_full(configure: Configure, tmp_path: Path) -> None:
    sides = {side: f"policy.baseline.long_side={side}" for side in (16, 32, 64)}
    costs = {s: run(configure, tmp_path, "policy/baseline=resolution_scaling", o).avg_cost for s, o in sides.items()}
    coarse, full = (run(configure, tmp_path, f"policy/baseline=always_{n}").avg_cost for n in ("coarse", "full"))
    assert coarse == costs[16] < costs[32] < costs[64] == full
    with pytest.raises(VoVNetError, match="long_side=128 exceeds"):
        run(configure, tmp_path, "policy/baseline=resolution_scaling", "policy.baseline.long_side=128")


def test_random_ratios_are_taken_from_a_run(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    source = tmp_path / "source"
    vovnet = run(configure, source, f"eval.checkpoint={path}", "policy.lambda_cost=0.05")
    asked = ("policy/baseline=random_policy_matched", f"policy.baseline.match={source}")
    matched = run(configure, tmp_path / "out", *asked, "policy.baseline.match_lambda=0.05")
    rates = [(r.action_rate_no, r.action_rate_coarse, r.action_rate_full) for r in (vovnet, matched)]
    assert np.allclose(*rates, atol=0.25)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["expected"]["avg_cost"] == pytest.approx(vovnet.avg_cost, abs=0.02)
    _, *checks = summary["checks"]  # the first says that an untrained backbone's answers cannot be read
    assert [check["passed"] for check in checks] == [True, True]
    assert f"for {vovnet.avg_cost:.4f}" in checks[1]["observed"]
    assert matched.seed == 42
    with pytest.raises(VoVNetError, match="holds 0 VoVNet rows"):
        run(configure, tmp_path, *asked, "policy.baseline.match_lambda=0.7")

    ratios, (low, high) = bucket_ratios(source)
    assert low <= high
    mean = np.mean([json.loads(line)["entropy"] for line in (source / "predictions.jsonl").read_text().splitlines()])
    assert low <= mean * 2
    assert np.allclose(np.sum(ratios, axis=1), 1)
    bucketed = run(configure, tmp_path / "buckets", *asked, "policy.baseline.buckets=true")
    assert bucketed.avg_text_tokens > matched.avg_text_tokens  # it reads the text to know the bucket


@pytest.mark.parametrize("buckets", ["true", "false"])
def test_random_ratios_are_those_of_one_vovnet_run_of_the_same_questions(
    configure: Configure, tmp_path: Path, buckets: str
) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    run(configure, tmp_path / "vovnet", f"eval.checkpoint={path}", "policy.lambda_cost=0.05")
    run(configure, tmp_path / "threshold", "policy/baseline=uncertainty_threshold")
    asked = ("policy/baseline=random_policy_matched", f"policy.baseline.buckets={buckets}")
    vovnet = f"policy.baseline.match={tmp_path / 'vovnet'}"
    for overrides, sentence in (
        ((vovnet, "policy.baseline.match_lambda=0.7"), "holds 0 VoVNet rows of easy_vqa/test with lambda 0.7"),
        ((vovnet, "eval.split=train"), "holds no VoVNet row of easy_vqa/train"),
        ((f"policy.baseline.match={tmp_path / 'threshold'}",), "holds no VoVNet row of easy_vqa/test"),
    ):
        with pytest.raises(VoVNetError, match=sentence):
            run(configure, tmp_path / "out", *asked, *overrides)


def test_a_draw_is_held_against_the_costs_that_were_meant(configure: Configure, tmp_path: Path) -> None:
    given = ("policy/baseline=random_policy_matched", "policy.baseline.target_ratios=[0.2,0.3,0.5]")
    row = run(configure, tmp_path, *given)
    summary = json.loads((tmp_path / "summary.json").read_text())
    expected, (_, check) = summary["expected"], summary["checks"]
    assert check["passed"]
    assert check["observed"].endswith("the ratios were given, so no VoVNet run's cost is known")
    off = 5 * expected["avg_cost_sd"]
    assert 0 < off < 0.5

    def passed(cost: float, matched: float | None) -> list[bool]:
        return [
            check.passed for check in draw_checks(replace(row, avg_cost=cost), expected | {"matched_cost": matched})
        ]

    meant = expected["avg_cost"]
    assert passed(meant + 0.9 * off, None) == [True]
    assert passed(meant + 1.1 * off, None) == [False]
    assert passed(meant, meant - 0.9 * off) == [True, True]
    assert passed(meant, meant - 1.1 * off) == [True, False]


def test_the_oracle_bounds_every_policy(configure: Configure, tmp_path: Path) -> None:
    oracle = run(configure, tmp_path, "policy/baseline=oracle")
    for name in ("always_full", "always_coarse", "no_vision"):
        assert run(configure, tmp_path, f"policy/baseline={name}").accuracy <= oracle.accuracy
    over = [
        run(
            configure, tmp_path, "policy/baseline=oracle", "policy.baseline.rule=utility", f"policy.lambda_cost={price}"
        )
        for price in (0, 0.1, 2)
    ]
    assert over[0].accuracy == oracle.accuracy
    assert [r.lambda_cost for r in over] == [0, 0.1, 2]
    costs = [r.avg_cost for r in over]
    assert costs == sorted(costs, reverse=True)
    with pytest.raises(VoVNetError, match=r"eval\.mode=replay"):
        run(configure, tmp_path, "policy/baseline=oracle", "eval.mode=live")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["policy/baseline=random_policy_matched", "policy.baseline.target_ratios=[0.5,0.5,0.5]"], "must sum to 1"),
        (["policy.fallback_mode=full"], "needs fallback_entropy_threshold"),
        (["policy.fallback_entropy_threshold=0.5"], "needs fallback_entropy_threshold"),
        (
            [
                "policy.fallback_mode=full",
                "policy.fallback_entropy_threshold=1",
                "policy.fallback_entropy_quantile=0.5",
            ],
            "fallback_entropy_threshold and fallback_entropy_quantile exclude each other",
        ),
        (["policy/baseline=uncertainty_threshold", "policy.baseline.threshold=-1"], "policy.baseline.threshold=-1"),
        (["policy/baseline=uncertainty_threshold", "policy.baseline.uncertainty=x"], "policy.baseline.uncertainty="),
        (["policy/baseline=always_full", "+policy.baseline.threshold=1"], "no configuration key policy.baseline.thre"),
    ],
)
def test_wrong_keys_are_named(overrides: list[str], sentence: str) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        compose_config(*overrides)


def test_the_configuration_is_typed() -> None:
    config: RunConfig = compose_config("policy/baseline=cascade")
    assert config.policy.baseline.name == "cascade"


def splitmix(state: int, count: int) -> list[int]:
    """Vigna's splitmix64.c in whole numbers."""
    found, mask = [], 2**64 - 1
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        found.append(z ^ (z >> 31))
    return found


def test_draws_are_those_of_splitmix64() -> None:
    assert splitmix(1234567, 2) == [6457827717110365317, 3203168211198807973]  # as published
    state = int(np.random.SeedSequence(5).generate_state(1, np.uint64)[0])
    assert uniform(5, np.arange(40)).tolist() == [(z >> 11) / 2**53 for z in splitmix(state, 40)]


def test_each_bucket_has_its_own_ratios_whatever_they_add_up_to() -> None:
    policy = Draw(Target(((2, 0, 0), (1, 1, 2), (0, 0, 5)), (0.5, 1.0)), seed=0)
    assert policy.needs == {TEXT}
    assert Draw(Target(((1, 0, 1), (1, 0, 0)), None), seed=0).needs == {TEXT, SPLIT}
    assert Draw(Target(((1, 1, 2),), ()), seed=0).needs == set()
    found = policy.probabilities(text(np.array([0.4, 0.5, 0.9, 1.0])), 4)
    assert found.tolist() == [[1, 0, 0], [0.25, 0.25, 0.5], [0.25, 0.25, 0.5], [0, 0, 1]]


def test_a_ratio_of_zero_is_not_drawn_at_its_very_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vovnet.policy.random_matched.uniform", lambda seed, rows: np.zeros(len(rows)))
    step = Draw(Target(((0, 1, 1),), ()), seed=0).step(View(np.arange(2)))
    assert step.looks.tolist() == [Action.COARSE, Action.COARSE]


def test_a_cascade_looks_again_below_its_threshold_only() -> None:
    cascade, rows, nothing = Cascade("cascade", 0.5), np.arange(3), np.zeros(3)
    first = cascade.step(View(rows))
    assert first.looks.tolist() == [Action.COARSE] * 3
    assert first.answer is not None
    assert not first.answer.any()
    seen = Seen(rows >= 0, nothing, np.array([0.4, 0.5, 0.6]), nothing, nothing)
    second = cascade.step(View(rows, seen={Action.COARSE: seen}))
    assert second.answer is None
    assert second.looks.tolist() == [Action.FULL, Action.COARSE, Action.COARSE]


def test_only_uncertainty_needs_the_text_pass() -> None:
    assert TEXT in threshold("entropy", 1.0, "full").needs
    assert TEXT not in Oracle("oracle", "utility").needs
    assert TEXT not in Cascade("cascade", 0.5).needs


def test_without_thresholds_buckets_are_terciles_of_the_split(configure: Configure, tmp_path: Path) -> None:
    ratios = "policy.baseline.bucket_ratios=[[1,0,0],[0,1,0],[0,0,1]]"
    given = ("policy/baseline=random_policy_matched", ratios)
    run(configure, tmp_path / "out", *given)
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    bounds = np.quantile([line["entropy"] for line in lines], [1 / 3, 2 / 3])
    expected = [("no", "coarse", "full")[np.searchsorted(bounds, line["entropy"], side="right")] for line in lines]
    assert [line["action"] for line in lines] == expected
    assert len(set(expected)) == 3
    for live in (
        ("eval.mode=live",),
        ("eval.mode=live", "policy.fallback_mode=full", "policy.fallback_entropy_threshold=3"),
    ):
        with pytest.raises(VoVNetError, match=r"give policy\.baseline\.bucket_thresholds"):
            run(configure, tmp_path / "live", *given, *live)


LADDER = "policy.action_space=ladder"


def test_ratios_are_of_the_menu_where_it_has_looks_of_its_own(configure: Configure, tmp_path: Path) -> None:
    asked = ("policy/baseline=random_policy_matched", LADDER)
    row = run(configure, tmp_path, *asked, "policy.baseline.target_ratios=[0,0,0.5,0.5,0]")
    assert [*rates_of(row)] == ["no", "coarse", "full", "side25", "side40"]
    assert rates_of(row)["side25"] + rates_of(row)["side40"] == 1
    with pytest.raises(VoVNetError, match="3 ratios are given for the 5 looks no, coarse, side25, side40, full"):
        run(configure, tmp_path, *asked, "policy.baseline.target_ratios=[0.5,0.5,0]")


@pytest.mark.parametrize("buckets", ["true", "false"])
def test_a_run_over_another_menu_is_not_matched(configure: Configure, tmp_path: Path, buckets: str) -> None:
    path = policy_file(configure(LADDER), tmp_path / "policy.safetensors")
    run(configure, tmp_path / "ladder", LADDER, f"eval.checkpoint={path}", "policy.lambda_cost=0.01")
    match = ("policy/baseline=random_policy_matched", f"policy.baseline.match={tmp_path / 'ladder'}")
    with pytest.raises(VoVNetError, match=r"answers from side\d+, which this configuration's menu does not hold"):
        run(configure, tmp_path / "out", *match, f"policy.baseline.buckets={buckets}")


def test_the_oracle_chooses_among_the_configured_menu(configure: Configure, tmp_path: Path) -> None:
    """With more looks it knows at least as much, at no higher cost where it is as good."""
    usual = run(configure, tmp_path / "usual", "policy/baseline=oracle")
    ladder = run(configure, tmp_path / "ladder", "policy/baseline=oracle", LADDER)
    assert ladder.accuracy >= usual.accuracy
    assert dict(ladder.extra) == {"looks": "no-coarse-side25-side40-full"}
    assert usual.extra == ()


def test_a_fallback_joins_the_menu_where_it_belongs() -> None:
    own = (Action.NO, Action.of(24), Action.of(48))
    for to, looks in ((Action.COARSE, (own[0], Action.COARSE, *own[1:])), (Action.FULL, (*own, Action.FULL))):
        assert Fallback(Always(*own), to, 0.5, None).looks == looks
