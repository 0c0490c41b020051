"""No change of the code changes a result: twelve commands against their frozen outputs."""

import json
from pathlib import Path

import pytest

from tests.golden import COMMANDS, FILE, results


def test_results_are_the_frozen_ones(tmp_path: Path) -> None:
    found, frozen = results(tmp_path), json.loads(FILE.read_text(encoding="utf-8"))
    assert found.keys() == frozen.keys() == COMMANDS.keys()
    for name, numbers in frozen.items():
        assert found[name].pop("answers") == numbers.pop("answers"), name
        assert found[name] == pytest.approx(numbers, rel=1e-6), name
