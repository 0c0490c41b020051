"""The page of surprises has a line for each script in findings/, and each script says what a reader needs."""

import os
import re
from pathlib import Path

import pytest

from tests.commands import ROOT

SCRIPTS = sorted((ROOT / "findings").glob("*"))
PARTS = ("# Versions: ", "# Behaviour: ", "# Why it surprises: ", "# Whom it hurts: ", "# Output seen")


def test_the_page_has_a_line_for_each_script() -> None:
    page = (ROOT / "experiments/surprises.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `(\w+)` \|$", page, flags=re.MULTILINE)
    assert sorted(named) == [path.stem for path in SCRIPTS]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_says_what_it_is_about(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert os.access(path, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert text.count("\n") < 60
    assert [part for part in PARTS if any(line.startswith(part) for line in header)] == list(PARTS)
    assert re.search(r"pip\" install -q .*==", text)
