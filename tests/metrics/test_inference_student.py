"""Student's distribution, against scipy's."""

import numpy as np
import pytest
from scipy.stats import t

from vovnet.metrics.inference import critical, two_sided_p

FREE = np.array([1.0, 1.5, 2.0, 2.7, 7.3, 30.0, 999.0, 20_000.0])


@pytest.mark.parametrize("statistic", [0.0, 0.5, 1.96, 5.0, 12.0, 40.0, np.inf])
def test_the_p_value_is_students(statistic: float) -> None:
    found = two_sided_p(np.full_like(FREE, statistic), FREE)
    assert found == pytest.approx(2 * t.sf(statistic, FREE), rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_critical_value_is_students_quantile(level: float) -> None:
    assert critical(FREE, level) == pytest.approx(t.ppf((1 + level) / 2, FREE), rel=1e-6)
