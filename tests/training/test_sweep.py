"""A sweep of trainings is merged into one table, and collapse is told over seeds."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vovnet.training.sweep import collapse_checks


def line(seed: int, utility: float, fixed: float, objective: str = "value") -> dict[str, Any]:
    return {
        "dataset": "mini", "objective": objective, "use_straight_through": True, "feature_mode": "hidden",
        "action_space": "binary", "lambda_cost": 0.1, "seed": seed, "utility": utility, "best_fixed_utility": fixed,
        "rate_no": 0.25, "rate_full": 0.75,
    }  # fmt: skip


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=6))
def test_a_method_passes_where_every_seed_beats_every_fixed_action(found: list[tuple[float, float]]) -> None:
    (check,) = collapse_checks([line(seed, *values) for seed, values in enumerate(found)])
    assert check.passed == all(utility > fixed for utility, fixed in found)
    assert f"for each of {len(found)} seeds" in check.name


def test_methods_are_judged_apart_and_one_seed_proves_nothing() -> None:
    rows = [line(0, 0.8, 0.7), line(1, 0.7, 0.7), line(0, 0.8, 0.7, "mixture"), line(1, 0.9, 0.7, "mixture")]
    value, mixture = collapse_checks(rows)
    assert (value.passed, mixture.passed) == (False, True)
    assert value.observed == "+0.1000 at 0.25/0.00/0.75; +0.0000 at 0.25/0.00/0.75"
    assert "mixture, straight-through" in mixture.name
    assert collapse_checks(rows[:1]) == []
    ladder = [{**one, "action_space": "ladder"} for one in rows[:2]]
    assert [check.name.split(", λ")[0] for check in collapse_checks([*rows[:2], *ladder])] == [
        "mini, value, action_space=binary",
        "mini, value, action_space=ladder",
    ]
