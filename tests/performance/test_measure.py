"""Ratios are medians of enough paired rounds."""

import pytest

from tests.performance import measure
from tests.performance.measure import ratio


def test_a_ratio_is_the_median_of_its_rounds() -> None:
    ours, bare = iter([2.0, 9.0, 3.0]), iter([1.0, 3.0, 2.0])
    found = ratio("a", lambda: next(ours), lambda: next(bare), 2.0, 3)
    assert (found.value, found.passed, found.detail) == (2.0, True, "3.000 s against 2.000 s")


def test_short_work_is_measured_until_it_was_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LONG_ENOUGH", 10.0)
    calls: list[float] = []

    def work() -> float:
        calls.append(0.5)
        return 0.5

    ratio("a", work, work, 1.0, 2)
    assert sum(calls) == 10.0
