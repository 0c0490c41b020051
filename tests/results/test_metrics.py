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
from vovnet.backbone.files import open_checkpoint
from vovnet.metrics.calibration import expected_calibration_error
from vovnet.metrics.frontier import upper_hull
from vovnet.results.metrics import clustered_interval, prefill_flops


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


@pytest.mark.parametrize(
    ("scores", "groups"),
    [
        ([1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 2, 2]),
        ([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], [0] * 5 + [1] * 5),  # an effective size between one and two samples
        ([1, 0.3, 0, 1, 1, 0, 0.6], [0, 0, 0, 1, 1, 2, 3]),
    ],
)
def test_the_interval_by_hand(scores: list[float], groups: list[int]) -> None:
    """Standard errors by Miller's equations 1 and 4, pair by pair; Wilson's interval at the size they amount to."""
    n, mean, distinct = len(scores), sum(scores) / len(scores), len(set(groups))
    errors = [score - mean for score in scores]
    independent = sum(e * e for e in errors) / (n - 1) / n
    pairs = sum(
        a * b for a, g in zip(errors, groups, strict=True) for b, h in zip(errors, groups, strict=True) if g == h
    )
    clustered = pairs / n**2 * distinct / (distinct - 1)
    size = n / max(1.0, clustered / independent)
    z = 1.959963984540054
    centre = (mean + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * (mean * (1 - mean) / size + z * z / (4 * size * size)) ** 0.5
    found = clustered_interval(np.array(scores, dtype=float), np.array(groups))
    assert found == (pytest.approx(max(0.0, centre - half)), pytest.approx(min(1.0, centre + half)))


def test_flops_by_hand_with_grouped_queries() -> None:
    """One layer of width 8: 4 query heads of 2 share 2 key heads; an MLP of 16, 10 words."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    config = dict(zip(names, (8, 1, 4, 2, 16), strict=True))
    weights = 8 * 8 + 2 * (8 * 4) + 8 * 8 + 3 * 8 * 16
    found = prefill_flops(config | {"vocab_size": 10}, np.array([0, 1, 3]), np.array([5, 5, 5]))
    pairs = np.array([0, 5, 3 + 4 + 5])
    assert found.tolist() == (2 * weights * np.array([0, 1, 3]) + 4 * 8 * pairs + np.array([0, 160, 160])).tolist()
