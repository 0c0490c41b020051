"""What a look costs in each unit: nothing without tokens, 1 for a maximal image, never less for more tokens."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure
from tests.policy.test_route import policy_file
from vovnet.actions import Action
from vovnet.analyses.profiled import profile_policy
from vovnet.errors import VoVNetError
from vovnet.outcomes.known import known_outcomes
from vovnet.outcomes.latencies import Latencies, read_latencies, write_latencies
from vovnet.outcomes.units import Curve, Operations, Tokens, Unit, latency_unit, unit_of
from vovnet.policy.fixed import Always
from vovnet.policy.route import make_router
from vovnet.report.runs import find_runs
from vovnet.results.evaluate import evaluate
from vovnet.results.read import read_results
from vovnet.session import Session
from vovnet.vlm.files import find_checkpoint

rising = st.lists(st.floats(0.01, 5), min_size=1, max_size=5).map(lambda steps: np.cumsum([0, *steps]).tolist())


def of(unit: Unit, tokens: Sequence[float], look: Action = Action.FULL, whole: Sequence[float] | None = None) -> Any:
    """What images cost of which nothing is pruned, or some of ``whole``."""
    return unit.of(look, np.array(tokens), np.array(tokens if whole is None else whole))


def latency(tokens: list[float], milliseconds: list[float], *pruned: tuple[Any, float, float]) -> Unit:
    return latency_unit("cpu", Latencies(tokens, milliseconds, pruned), most=64)


@given(rising, rising, st.lists(st.integers(0, 60), min_size=2, max_size=8).map(sorted))
def test_more_tokens_never_cost_less(tokens: list[float], prices: list[float], asked: list[int]) -> None:
    length = min(len(tokens), len(prices))
    curve = Curve(tuple(tokens[:length]), tuple(prices[:length]))
    unit = Operations(curve, curve, frozenset(), 4)
    costs = of(unit, [0.0, tokens[length - 1], 3 * tokens[length - 1]])
    assert costs.tolist() == pytest.approx([0, 1, 3])
    assert (np.diff(of(unit, asked)) >= -1e-12).all()


def test_tokens_are_shares() -> None:
    assert of(Tokens(64), [0, 16, 64, 128]).tolist() == [0, 0.25, 1, 2]


def test_operations_grow_faster_than_tokens(configure: Configure) -> None:
    """Attention is quadratic; a look at a quarter of the tokens takes less than a quarter of the work."""
    config = configure("policy.cost_unit=flops")
    costs = of(unit_of(config, find_checkpoint(config.backbone), ()), [0, 16, 32, 64])
    assert costs[[0, 3]].tolist() == [0, 1]
    assert 0.1 < costs[1] < 0.25
    assert costs[1] < costs[2] / 2 < costs[3] / 4


def test_measured_latencies_are_those_over_no_image(caplog: pytest.LogCaptureFixture) -> None:
    unit = latency([0.0, 16.0, 32.0], [10.0, 12.0, 18.0])
    assert of(unit, [0, 16, 32, 48, 64]).tolist() == pytest.approx([0, 2 / 20, 8 / 20, 14 / 20, 1])
    several = latency([0.0, 16.0, 96.0], [10.0, 12.0, 22.0])
    assert of(several, [16, 64, 128]).tolist() == pytest.approx([2 / 8, 1, 2])
    alike = latency([0.0, 16.0, 16.0], [10.0, 12.0, 12.0])
    assert of(alike, [16, 64]).tolist() == pytest.approx([1 / 4, 1])
    assert not caplog.records
    noisy = latency([0.0, 16.0, 64.0], [10.0, 9.0, 11.0])
    assert of(noisy, [16, 64]).tolist() == [0, 1]
    assert "the latencies on cpu fall as images grow" in caplog.text
    with pytest.raises(VoVNetError, match="the latencies on cpu show no time that images take"):
        latency([0.0, 16.0], [10.0, 9.0])


MERGED = Action.of(pruning=("merge", 0.5))


def test_a_pruned_look_takes_the_share_of_the_whole_one_s_time_that_was_measured(
    caplog: pytest.LogCaptureFixture,
) -> None:
    points = [0.0, 64.0], [10.0, 18.0]
    unit = latency(*points, ({"merge": 0.5}, 32.0, 13.0))  # 3 of the 4 ms of an image of 32 tokens
    assert unit.pruned == {MERGED}
    assert of(unit, [8, 32, 64], MERGED, [16, 64, 128]).tolist() == pytest.approx([0.75 / 4, 0.75, 1.5])
    assert of(unit, [8, 32]).tolist() == pytest.approx([1 / 8, 1 / 2])  # of a smaller image
    assert unit.name != latency(*points).name
    assert not caplog.records
    slower = latency(*points, ({"merge": 0.5}, 32.0, 15.0))
    assert of(slower, [16], MERGED, [32]).tolist() == [0.5]
    assert "which is taken for noise" in caplog.text


@given(st.floats(0.01, 1), st.integers(1, 200), st.sampled_from(["flops", "latency"]), st.floats(0, 30))
def test_a_pruned_look_costs_at_most_the_whole_one(kept: float, size: int, kind: str, time: float) -> None:
    curve, language = Curve((0.0, 32.0, 64.0), (0.0, 5.0, 12.0)), Curve((0.0, 32.0, 64.0), (0.0, 2.0, 7.0))
    unit: Unit = Operations(curve, language, frozenset({MERGED}), 4)
    if kind == "latency":
        unit = latency([0.0, 32.0, 64.0], [10.0, 15.0, 22.0], ({"merge": 0.5}, 40.0, time))
    fewer, more, whole = of(unit, [kept * kept * size, kept * size, size], MERGED, [size] * 3)
    assert 0 <= fewer <= more <= whole
    assert whole == pytest.approx(of(unit, [size])[0]) or kind == "latency"
    assert whole <= of(unit, [size])[0]


def test_the_device_of_latencies_is_the_only_one_or_named(configure: Configure) -> None:
    config = configure("policy.cost_unit=latency")
    checkpoint = find_checkpoint(config.backbone)
    with pytest.raises(VoVNetError, match=r"of which none is measured; run `python -m experiments\.profile"):
        unit_of(config, checkpoint, ())
    write_latencies(config, checkpoint, "NVIDIA H200", Latencies([0, 16, 64], [10, 11, 14]))
    assert of(unit_of(config, checkpoint, ()), [16.0])[0] == 0.25
    write_latencies(config, checkpoint, "cpu x86_64", Latencies([0, 16, 64], [10, 12, 14]))
    with pytest.raises(VoVNetError, match=r"cpu_x86_64, nvidia_h200; set policy\.latency_device to one of them"):
        unit_of(config, checkpoint, ())
    named = configure("policy.cost_unit=latency", "policy.latency_device=cpu_x86_64")
    assert of(unit_of(named, checkpoint, ()), [16.0])[0] == 0.5
    other = replace(named, eval=replace(named.eval, max_new_tokens=99))
    with pytest.raises(VoVNetError, match="none is measured"):
        unit_of(other, checkpoint, ())


@pytest.mark.parametrize(
    ("override", "menu"),
    [
        ("policy.full_pruning_ratio=0.5", "[no, coarse, {merge: 0.5}, {pool: 0.75}, full]"),
        (
            "policy.looks=[no,{long_side:32,merge:0.5},full]",
            "[no, coarse, {long_side: 32, merge: 0.5}, {pool: 0.75}, full]",
        ),
    ],
)
def test_a_pruned_look_without_a_latency_is_named_with_what_measures_it(
    configure: Configure, override: str, menu: str
) -> None:
    config = configure("policy.cost_unit=latency", override)
    checkpoint = find_checkpoint(config.backbone)
    measured = Latencies([0, 16, 64], [10, 11, 14], [({"pool": 0.75}, 64, 13)])  # is timed again
    write_latencies(config, checkpoint, "cpu", measured)
    assert unit_of(config, checkpoint, (Action.NO, Action.COARSE)).pruned == set()
    with pytest.raises(VoVNetError, match="was not measured on cpu; run") as refused:
        unit_of(config, checkpoint, config.menu)
    assert f"'policy.looks={menu}'" in str(refused.value)


def test_a_tower_of_unknown_sizes_is_said(configure: Configure) -> None:
    config = configure("policy.cost_unit=flops")
    checkpoint = find_checkpoint(config.backbone)
    kept = {name: checkpoint.vision_config[name] for name in ("patch_size", "spatial_merge_size")}
    strange = replace(checkpoint, config={**checkpoint.config, "vision_config": kept})
    with pytest.raises(
        VoVNetError, match=r"sizes of the vision tower of qwen3_vl are not known; set policy\.cost_unit"
    ):
        unit_of(config, strange, ())


def test_a_profile_is_what_latencies_are_taken_from(configure: Configure, tmp_path: Path) -> None:
    base = ("policy/baseline=always_coarse", "eval.max_samples=8")
    profile_policy(configure(*base, root="profile"), tmp_path / "profile", Session())
    (file,) = Path(configure().paths.store).glob("latency/*/*.json")
    assert file.stem.startswith("cpu_")
    rows = {
        unit: evaluate(configure(*base, f"policy.cost_unit={unit}"), tmp_path / unit).row
        for unit in ("tokens", "flops", "latency")
    }
    assert (rows["tokens"].cost_unit, rows["flops"].cost_unit) == ("tokens", "flops")
    assert rows["latency"].cost_unit.startswith(f"latency on {file.stem} (")
    assert rows["tokens"].avg_cost == 4 / 64
    assert 0 < rows["flops"].avg_cost < rows["tokens"].avg_cost
    assert rows["latency"].avg_cost >= 0
    assert len({row.accuracy for row in rows.values()}) == len({row.avg_vision_tokens for row in rows.values()}) == 1


MENU = "policy.looks=[no,coarse,{merge:0.5},{stride:0.75},full]"


@pytest.mark.parametrize("unit", ["flops", "latency"])
@pytest.mark.parametrize("procedure", [(), ("policy=sequential",)])
def test_a_menu_with_pruned_looks_is_priced_alike_in_replay_and_live(
    configure: Configure, tmp_path: Path, unit: str, procedure: tuple[str, ...]
) -> None:
    keys = (MENU, "eval.max_samples=24", f"policy.cost_unit={unit}", *procedure)
    config = configure(*keys)
    checkpoint = find_checkpoint(config.backbone)
    measured = Latencies([0, 4, 64], [10, 12, 18], [({"merge": 0.5}, 64, 15), ({"stride": 0.75}, 64, 16)])
    write_latencies(config, checkpoint, "cpu", measured)
    outcomes = known_outcomes(config, Session())
    assert (np.diff(outcomes.costs[:, 2:], axis=1) > 0).all()  # merged to a half, to three quarters, whole
    live = make_router(config, outcomes.dataset, Always(*config.menu))
    assert np.array_equal(live.costs(outcomes.samples), outcomes.costs)
    given = (*keys, f"eval.checkpoint={policy_file(config, tmp_path / 'policy.safetensors')}")
    spent = []
    for price in (0.0, 0.02, 0.1, 1.0):
        replayed, routed = (
            evaluate(configure(*given, f"policy.lambda_cost={price}", f"eval.mode={mode}"), tmp_path / mode).routed
            for mode in ("replay", "live")
        )
        assert np.array_equal(replayed.actions, routed.actions)
        assert np.array_equal(replayed.cost, routed.cost)
        spent.append(replayed.cost)
    assert procedure or all((later <= earlier).all() for earlier, later in pairwise(spent))


def test_a_profile_measures_the_pruned_looks_of_the_menu(configure: Configure, tmp_path: Path) -> None:
    """Also where a policy that knows nothing of the menu is timed, since no policy is trained yet."""
    base = ("policy/baseline=always_full", "eval.max_samples=8", MENU)
    rows = profile_policy(configure(*base, root="profile"), tmp_path / "profile", Session())
    config = configure("policy.cost_unit=latency", MENU)
    checkpoint = find_checkpoint(config.backbone)
    _, measured = read_latencies(config, checkpoint)
    times = {row.action: row.latency_p50_ms for row in rows if row.stage == "end_to_end"}
    assert [*measured.milliseconds] == [times[look] for look in ("no", "coarse", "full")]
    assert [(look, time) for look, _, time in measured.pruned] == [
        ({"merge": 0.5}, times["merge50"]),
        ({"stride": 0.75}, times["stride75"]),
    ]
    assert {size for _, size, _ in measured.pruned} == {measured.tokens[-1]}  # those of the whole image
    assert unit_of(config, checkpoint, config.menu).pruned == {*config.menu[2:4]}


def test_latencies_of_batches_are_kept_apart_and_count_whole_batches(configure: Configure, tmp_path: Path) -> None:
    base = ("policy/baseline=always_coarse", "eval.max_samples=11", "profile.batch_size=4", "profile.warmup=1")
    rows = profile_policy(configure(*base, root="profile"), tmp_path / "profile", Session())
    assert {(row.batch_size, row.num_samples) for row in rows} == {(4, 4)}  # one batch of warm-up, one half empty
    (file,) = Path(configure().paths.store).glob("latency/*/*.json")
    assert file.stem.startswith("cpu_")
    assert file.stem.endswith("_batch_4")
    assert [row.latency_p50_ms for row in read_results(tmp_path / "profile/results.csv")] == [None, None, None]


def test_a_profile_of_a_pruned_full_is_no_measure_of_tokens(configure: Configure, tmp_path: Path) -> None:
    pruned = ("policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.5", "eval.max_samples=7")
    profile_policy(configure(*pruned, root="profile"), tmp_path / "profile", Session())
    assert not list(Path(configure().paths.store).glob("latency/*/*.json"))


def test_runs_of_other_units_are_not_compared(configure: Configure, tmp_path: Path) -> None:
    for unit in ("tokens", "flops"):
        config = configure("policy/baseline=always_coarse", "eval.max_samples=8", f"policy.cost_unit={unit}")
        evaluate(config, tmp_path / unit)
    one, other = find_runs([tmp_path]).runs
    assert {key for key in one.protocol if one.protocol[key] != other.protocol[key]} == {"policy.cost_unit"}
