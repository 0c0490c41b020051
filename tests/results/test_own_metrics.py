"""A metric of the user's own sees what was done to each question and gives a number."""

import pytest

import vovnet
from tests.conftest import Configure
from vovnet.errors import VoVNetError
from vovnet.results.evaluate import evaluate
from vovnet.results.own_metrics import Measured

GIVEN = ("policy/baseline=always_coarse", "eval.max_samples=8")


def looks(measured: Measured, times: float = 1.0) -> float:
    assert len(measured.samples) == len(measured.score) == len(measured.prediction) == 8
    return float((measured.actions == vovnet.Action.COARSE).mean() * times + measured.cost.sum() * 0)


def text(measured: Measured) -> str:
    return "much"


def infinite(measured: Measured) -> float:
    return float("inf")


def test_a_metric_is_a_column_of_its_own(configure: Configure, tmp_path: object) -> None:
    config = configure(*GIVEN, "+eval.metrics={own: {_target_: tests.results.test_own_metrics.looks, times: 3}}")
    found = evaluate(config, tmp_path)  # type: ignore[arg-type]
    assert found.row.metrics == (("own", 3.0),)
    assert vovnet.read_results(tmp_path)["metric.own"].tolist() == [3.0]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["text", "infinite"])
def test_what_is_no_finite_number_is_refused(name: str, configure: Configure, tmp_path: object) -> None:
    config = configure(*GIVEN, f"+eval.metrics={{own: tests.results.test_own_metrics.{name}}}")
    with pytest.raises(VoVNetError, match=r"eval\.metrics\.own .* must give a finite number"):
        evaluate(config, tmp_path)  # type: ignore[arg-type]
