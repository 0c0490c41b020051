"""Intervals, calibration and FLOPs against brute force."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText

from tests.conftest import rotary_flops
from vovnet.metrics.calibration import expected_calibration_error
from vovnet.metrics.frontier import upper_hull
from vovnet.results.metrics import clustered_interval, generation_flops, prefill_flops, vision_flops
from vovnet.vlm.files import open_checkpoint


def test_the_interval_covers_the_truth_in_clustered_data() -> None:
    """Groups of ten that are right or wrong together: an interval that ignored them would cover about half."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        groups = np.repeat(np.arange(100), 10)
        scores = (rng.random(100) < 0.8).astype(float)[groups]
        low, high = clustered_interval(scores, groups)
        covered += low <= 0.8 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_independent_samples_give_wilsons_interval() -> None:
    scores = np.array([1.0] * 80 + [0.0] * 20)
    low, high = clustered_interval(scores, np.arange(100))
    assert (low, high) == (pytest.approx(0.7112, abs=2e-4), pytest.approx(0.8666, abs=2e-4))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 5)), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_stays_in_range(rows: list[tuple[float, int]]) -> None:
    scores, groups = (np.array(column) for column in zip(*rows, strict=True))
    low, high = clustered_interval(scores, groups)
    assert 0 <= low <= scores.mean() + 1e-12
    assert scores.mean() - 1e-12 <= high <= 1
    assert low < high


def test_one_group_counts_as_one_sample() -> None:
    low, high = clustered_interval(np.array([1.0, 0.0] * 20), np.zeros(40))
    assert high - low > 0.85


def test_few_groups_widen_the_interval() -> None:
    scores = np.array([1.0, 0.0, 1.0, 1.0] * 10)
    few, many = (clustered_interval(scores, np.arange(40) % count) for count in (4, 40))
    assert few[1] - few[0] > many[1] - many[0]


def test_a_perfect_score_still_has_an_interval() -> None:
    low, high = clustered_interval(np.ones(50), np.arange(50))
    assert 0.9 < low < 1
    assert high == 1


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.1, 0.1, 0.9, 0.9])
    assert expected_calibration_error(confidence, np.array([0, 0, 1, 1]), bins=2) == pytest.approx(0.1)
    assert expected_calibration_error(confidence, np.array([1, 1, 0, 0]), bins=2) == pytest.approx(0.9)
    assert expected_calibration_error(confidence, confidence) == pytest.approx(0)


@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
def test_flops_equal_torchs_count(request: pytest.FixtureRequest, family: str) -> None:
    """Against torch's own counter over a text prompt; it counts full attention, so causal pairs are doubled."""
    folder: Path = request.getfixturevalue(family)
    config = open_checkpoint(folder).text_config
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager")
    length = 24
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.ones(1, length, dtype=torch.long), logits_to_keep=1)
    ours = float(prefill_flops(config, np.array([length]), np.array([length]))[0])
    heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
    causal = 4 * heads * head_dim * int(config["num_hidden_layers"])
    full = ours + causal * (length**2 - length * (length + 1) / 2)
    assert full == pytest.approx(counter.get_total_flops() - rotary_flops(counter), rel=1e-6)


def test_reading_in_two_parts_costs_the_same_but_for_the_output_layer() -> None:
    config = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 128, "vocab_size": 100,
    }  # fmt: skip
    whole = prefill_flops(config, np.array([30]), np.array([30]))
    parts = prefill_flops(config, np.array([10, 20]), np.array([10, 30])).sum()
    assert parts - whole[0] == 2 * 64 * 100
    assert prefill_flops(config, np.array([0]), np.array([5]))[0] == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_the_hull_lies_on_or_above_every_point(points: list[tuple[float, float]]) -> None:
    hull = upper_hull(sorted(points))
    assert set(hull) <= set(points)
    costs, scores = zip(*hull, strict=True)
    for cost, score in points:
        if len(set(costs)) == len(costs):
            assert np.interp(cost, costs, scores) >= score - 1e-9


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40), st.data())
def test_one_more_right_answer_lowers_no_bound(rows: list[tuple[bool, int]], data: st.DataObject) -> None:
    scores, groups = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    better = scores.copy()
    better[data.draw(st.integers(0, len(rows) - 1))] = 1
    before, after = clustered_interval(scores, groups), clustered_interval(better, groups)
    assert after[0] >= before[0]
    assert after[1] >= before[1]


def test_all_of_forty_right_bounds_as_much_as_all_but_one() -> None:
    """Ten questions about each of four images."""
    groups, scores = np.arange(40) % 4, np.ones(40)
    perfect = clustered_interval(scores, groups)
    scores[0] = 0
    one_wrong = clustered_interval(scores, groups)
    assert perfect == (pytest.approx(0.5101, abs=1e-4), 1)
    assert one_wrong == (pytest.approx(0.4852, abs=1e-4), pytest.approx(0.9994, abs=1e-4))


@pytest.mark.parametrize(
    ("sizes", "effective"), [([1] * 9, 9), ([5] * 9, 9), ([9, 1], 100 / 82), ([2, 2, 1, 1], 36 / 10), ([7], 1)]
)
def test_the_interval_by_hand(sizes: list[int], effective: float) -> None:
    """Wilson's interval at Kish's effective number of groups."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    scores = np.linspace(0, 1, len(groups)) ** 2
    z, mean = 1.959963984540054, float(scores.mean())
    low, high = clustered_interval(scores, groups)
    for bound in (low, high):  # where (mean - p)^2 = z^2 p (1 - p) / n
        assert (mean - bound) ** 2 == pytest.approx(z * z * bound * (1 - bound) / effective)


def test_flops_by_hand_with_grouped_queries() -> None:
    """One layer of width 8: 4 query heads of 2 share 2 key heads; an MLP of 16, 10 words."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    config = dict(zip(names, (8, 1, 4, 2, 16), strict=True))
    weights = 8 * 8 + 2 * (8 * 4) + 8 * 8 + 3 * 8 * 16
    found = prefill_flops(config | {"vocab_size": 10}, np.array([0, 1, 3]), np.array([5, 5, 5]))
    pairs = np.array([0, 5, 3 + 4 + 5])
    assert found.tolist() == (2 * weights * np.array([0, 1, 3]) + 4 * 8 * pairs + np.array([0, 160, 160])).tolist()


@given(st.integers(1, 20), st.integers(0, 6))
def test_an_answer_is_as_many_single_tokens(prompt: int, generated: int) -> None:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    config = dict(zip(names, (8, 2, 4, 2, 16), strict=True)) | {"vocab_size": 10}
    single = [prefill_flops(config, np.array([1]), np.array([prompt + step]))[0] for step in range(1, generated)]
    assert generation_flops(config, np.array([prompt]), np.array([generated]))[0] == sum(single)


def test_a_vision_tower_s_flops_equal_torchs_count(qwen3: Path) -> None:
    """Its blocks; patch embedding and mergers are left out."""
    checkpoint = open_checkpoint(qwen3)
    model = AutoModelForImageTextToText.from_pretrained(qwen3, attn_implementation="eager")
    visual, grid = model.model.visual, torch.tensor([[1, 4, 6]])
    patches = torch.zeros(24, visual.patch_embed.proj.weight[0].numel())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        visual(patches, grid_thw=grid)
    counts = counter.get_flop_counts()
    blocks = sum(sum(c.values()) for name, c in counts.items() if name.split(".")[-2:-1] == ["blocks"])
    found = vision_flops(checkpoint.vision_config, np.array([24]))
    assert found is not None
    assert found[0] == pytest.approx(blocks, rel=1e-6)
    assert vision_flops({"model_type": "of its own"}, np.array([24])) is None
