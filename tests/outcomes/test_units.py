"""What a look costs in each unit: nothing without tokens, 1 for a maximal image, never less for more tokens."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure
from vovnet.actions import Action
from vovnet.analyses.profiled import profile_policy
from vovnet.errors import VoVNetError
from vovnet.outcomes.units import Curve, Tokens, latency_curve, unit_of, write_latency
from vovnet.report.runs import find_runs
from vovnet.results.evaluate import evaluate
from vovnet.results.read import read_results
from vovnet.session import Session
from vovnet.vlm.files import find_checkpoint

rising = st.lists(st.floats(0.01, 5), min_size=1, max_size=5).map(lambda steps: np.cumsum([0, *steps]).tolist())


@given(rising, rising, st.lists(st.integers(0, 60), min_size=2, max_size=8).map(sorted))
def test_more_tokens_never_cost_less(tokens: list[float], prices: list[float], asked: list[int]) -> None:
    length = min(len(tokens), len(prices))
    unit = Curve("some", tuple(tokens[:length]), tuple(prices[:length]))
    costs = unit.of(np.array([0.0, tokens[length - 1], 3 * tokens[length - 1]]))
    assert costs.tolist() == pytest.approx([0, 1, 3])
    assert (np.diff(unit.of(np.array(asked, dtype=float))) >= -1e-12).all()


def test_tokens_are_shares() -> None:
    assert Tokens(64).of(np.array([0, 16, 64, 128])).tolist() == [0, 0.25, 1, 2]


def test_operations_grow_faster_than_tokens(configure: Configure) -> None:
    """Attention is quadratic; a look at a quarter of the tokens takes less than a quarter of the work."""
    config = configure("policy.cost_unit=flops")
    unit = unit_of(config, find_checkpoint(config.backbone))
    costs = unit.of(np.array([0, 16, 32, 64]))
    assert costs[[0, 3]].tolist() == [0, 1]
    assert 0.1 < costs[1] < 0.25
    assert costs[1] < costs[2] / 2 < costs[3] / 4


def test_measured_latencies_are_those_over_no_image(caplog: pytest.LogCaptureFixture) -> None:
    unit = latency_curve("cpu", np.array([0.0, 16.0, 32.0]), np.array([10.0, 12.0, 18.0]), most=64)
    assert unit.of(np.array([0, 16, 32, 48, 64])).tolist() == pytest.approx([0, 2 / 20, 8 / 20, 14 / 20, 1])
    several = latency_curve("cpu", np.array([0.0, 16.0, 96.0]), np.array([10.0, 12.0, 22.0]), most=64)
    assert several.of(np.array([16, 64, 128])).tolist() == pytest.approx([2 / 8, 1, 2])
    alike = latency_curve("cpu", np.array([0.0, 16.0, 16.0]), np.array([10.0, 12.0, 12.0]), most=64)
    assert alike.of(np.array([16, 64])).tolist() == pytest.approx([1 / 4, 1])
    assert not caplog.records
    noisy = latency_curve("cpu", np.array([0.0, 16.0, 64.0]), np.array([10.0, 9.0, 11.0]), most=64)
    assert noisy.of(np.array([16, 64])).tolist() == [0, 1]
    assert "the latencies on cpu fall as images grow" in caplog.text
    with pytest.raises(VoVNetError, match="the latencies on cpu show no time that images take"):
        latency_curve("cpu", np.array([0.0, 16.0]), np.array([10.0, 9.0]), most=64)


def test_the_device_of_latencies_is_the_only_one_or_named(configure: Configure) -> None:
    config = configure("policy.cost_unit=latency")
    checkpoint = find_checkpoint(config.backbone)
    with pytest.raises(VoVNetError, match=r"of which none is measured; run `python -m experiments\.profile"):
        unit_of(config, checkpoint)
    write_latency(config, checkpoint, "NVIDIA H200", [0, 16, 64], [10, 11, 14])
    assert unit_of(config, checkpoint).of(np.array([16.0]))[0] == 0.25
    write_latency(config, checkpoint, "cpu x86_64", [0, 16, 64], [10, 12, 14])
    with pytest.raises(VoVNetError, match=r"cpu_x86_64, nvidia_h200; set policy\.latency_device to one of them"):
        unit_of(config, checkpoint)
    named = configure("policy.cost_unit=latency", "policy.latency_device=cpu_x86_64")
    assert unit_of(named, checkpoint).of(np.array([16.0]))[0] == 0.5
    other = replace(named, eval=replace(named.eval, max_new_tokens=99))
    with pytest.raises(VoVNetError, match="none is measured"):
        unit_of(other, checkpoint)


@pytest.mark.parametrize("unit", ["flops", "latency"])
@pytest.mark.parametrize(
    ("override", "look"),
    [
        ("policy.full_pruning_ratio=0.5", "FULL"),
        ("policy.looks=[no,{long_side:32,merge:0.5},full]", "side32_merge50"),
    ],
)
def test_pruned_looks_have_no_such_cost(configure: Configure, unit: str, override: str, look: str) -> None:
    config = configure(f"policy.cost_unit={unit}", override)
    with pytest.raises(VoVNetError, match=f"policy.cost_unit={unit} is known of whole images, and {look} is pruned"):
        unit_of(config, find_checkpoint(config.backbone))


def test_a_tower_of_unknown_sizes_is_said(configure: Configure) -> None:
    config = configure("policy.cost_unit=flops")
    checkpoint = find_checkpoint(config.backbone)
    kept = {name: checkpoint.vision_config[name] for name in ("patch_size", "spatial_merge_size")}
    strange = replace(checkpoint, config={**checkpoint.config, "vision_config": kept})
    with pytest.raises(
        VoVNetError, match=r"sizes of the vision tower of qwen3_vl are not known; set policy\.cost_unit"
    ):
        unit_of(config, strange)


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


def test_a_policy_s_own_pruned_look_has_no_such_cost(configure: Configure) -> None:
    config = configure("policy.cost_unit=flops")
    looks = (Action.NO, Action.of(pruning=("merge", 0.5)), Action.FULL)
    with pytest.raises(VoVNetError, match="known of whole images, and merge50 is pruned here"):
        unit_of(config, find_checkpoint(config.backbone), looks)


def test_runs_of_other_units_are_not_compared(configure: Configure, tmp_path: Path) -> None:
    for unit in ("tokens", "flops"):
        config = configure("policy/baseline=always_coarse", "eval.max_samples=8", f"policy.cost_unit={unit}")
        evaluate(config, tmp_path / unit)
    one, other = find_runs([tmp_path]).runs
    assert {key for key in one.protocol if one.protocol[key] != other.protocol[key]} == {"policy.cost_unit"}
