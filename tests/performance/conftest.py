"""One round is enough to see that a part is measured."""

import pytest

from tests.performance import measure


@pytest.fixture(autouse=True)
def _one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LONG_ENOUGH", 0.0)
