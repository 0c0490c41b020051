"""COARSE and FULL obey their bounds exactly, and COARSE is coarser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import compose_config
from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.schema import Resolution, VisionBudgetConfig
from vovnet.vlm.qwen.budget import VisionBudget, make_budget
from vovnet.vlm.sizes import fit

sides = st.integers(1, 20_000)


@given(sides, sides, st.integers(32, 4096), st.integers(32**2, 4096**2), st.sampled_from([8, 28, 32]))
def test_a_fitted_size_obeys_both_bounds(width: int, height: int, long_side: int, pixels: int, factor: int) -> None:
    new_width, new_height = fit(width, height, Resolution(long_side, pixels), factor)
    assert new_width % factor == 0
    assert new_height % factor == 0
    assert factor <= max(new_width, new_height) <= long_side
    assert new_width * new_height <= pixels


@given(sides, sides)
def test_an_image_is_never_enlarged_beyond_rounding(width: int, height: int) -> None:
    new_width, new_height = fit(width, height, Resolution(10**6, 10**12), 32)
    assert abs(new_width - width) < 32
    assert abs(new_height - height) < 32


@given(sides, sides)
def test_coarse_never_costs_more_than_full(width: int, height: int) -> None:
    budget = VisionBudget(Resolution(256, 65536), Resolution(1024, 1048576), 32)
    coarse, full = (budget.tokens(width, height, a) for a in (Action.COARSE, Action.FULL))
    assert 1 <= coarse <= full <= budget.max_tokens


@given(sides, sides, st.integers(8, 64), st.integers(8, 64), st.integers(64, 4096), st.integers(64, 4096))
def test_coarse_never_costs_more_whatever_the_bounds(
    width: int, height: int, side_a: int, side_b: int, pixels_a: int, pixels_b: int
) -> None:
    coarse = Resolution(min(side_a, side_b), min(pixels_a, pixels_b))
    budget = VisionBudget(coarse, Resolution(max(side_a, side_b), max(pixels_a, pixels_b)), 8)
    assert budget.tokens(width, height, Action.COARSE) <= budget.tokens(width, height, Action.FULL) <= budget.max_tokens


def test_the_unit_of_cost_is_an_image_that_exists() -> None:
    assert VisionBudget(Resolution(8, 64), Resolution(64, 3000), 8).max_tokens == 42  # 6 x 7; 46 has no such grid


@pytest.mark.parametrize(("width", "height"), [(512, 384), (640, 480), (1024, 1024), (3000, 1000)])
def test_the_default_budget_gives_coarse_a_quarter_or_less(width: int, height: int) -> None:
    budget = make_budget(compose_config("backbone=qwen3_vl_8b").vision_budget, 16, 2)
    assert budget.tokens(width, height, Action.COARSE) <= budget.tokens(width, height, Action.FULL) / 4


def test_the_aspect_ratio_is_kept_up_to_rounding() -> None:
    assert fit(512, 384, Resolution(256, 65536), 32) == (256, 192)
    assert fit(20_000, 20, Resolution(1024, 1048576), 32) == (1024, 32)


def test_no_vision_costs_nothing() -> None:
    assert VisionBudget(Resolution(16, 256), Resolution(64, 4096), 8).tokens(64, 64, Action.NO) == 0


def test_a_wrong_patch_size_is_refused() -> None:
    with pytest.raises(VoVNetError, match=r"vision_budget.patch_size=4.*patches of 16"):
        make_budget(compose_config().vision_budget, 16, 2)


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(VoVNetError, match=r"vision_budget.coarse allows 16 px"):
        make_budget(compose_config("vision_budget.patch_size=null").vision_budget, 16, 2)


@pytest.mark.parametrize(
    ("size", "bounds", "expected"),
    [
        ((1600, 800), Resolution(4096, 256**2), (320, 192)),  # 11 x 6 tokens are too many by two
        ((1000, 1000), Resolution(4096, 8 * 32**2), (96, 64)),  # 3 x 3 are too many by one: rows go first
        ((800, 1600), Resolution(512, 10**8), (256, 512)),
    ],
)
def test_sizes_by_hand(size: tuple[int, int], bounds: Resolution, expected: tuple[int, int]) -> None:
    assert fit(*size, bounds, 32) == expected


@pytest.mark.parametrize(("side", "pixels", "fits"), [(32, 1024, True), (31, 4096, False), (64, 1023, False)])
def test_coarse_holds_at_least_one_token(side: int, pixels: int, fits: bool) -> None:
    config = VisionBudgetConfig(Resolution(side, pixels), Resolution(1024, 10**6), None)
    if fits:
        assert make_budget(config, 16, 2).tokens(500, 500, Action.COARSE) == 1
        return
    with pytest.raises(VoVNetError, match="covers 32x32; raise long_side to 32 and max_pixels to 1024 at least"):
        make_budget(config, 16, 2)
