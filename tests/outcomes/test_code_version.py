"""Code that determines an outcome does not change without a version, by which the store tells old rows from new."""

import json

import pytest

from tests.outcomes import outcome_code
from vovnet.outcomes import keys

RECORDED = json.loads(outcome_code.FILE.read_text())


def test_no_module_that_determines_an_outcome_has_changed_without_a_version() -> None:
    changed = outcome_code.unversioned(RECORDED)
    assert changed == [], (
        f"{changed} changed and CODE_VERSION did not: raise it in vovnet/outcomes/keys.py if an outcome can differ, "
        "then run `python -m tests.outcomes.outcome_code`, with --same-outcomes if none can."
    )


def test_a_raised_version_is_recorded() -> None:
    assert outcome_code.versions() == RECORDED["versions"], "run `python -m tests.outcomes.outcome_code`"


def test_a_change_is_seen_and_a_version_answers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "outcomes/branches.py"
    assert name in RECORDED["modules"]
    changed = {**RECORDED, "modules": {**RECORDED["modules"], name: "another"}}
    assert outcome_code.unversioned(changed) == [name]
    with monkeypatch.context() as patched:
        patched.setattr(outcome_code, "modules", lambda: {name: "another"})
        with pytest.raises(SystemExit, match="changed and no version did"):
            outcome_code.main([])
    monkeypatch.setitem(keys.CODE_VERSION, "seen", 99)
    assert outcome_code.unversioned(changed) == []


def test_what_no_outcome_depends_on_does_not_count() -> None:
    one = 'def f(x: int) -> int:\n    """Say it."""\n    return x + 1  # why\n'
    assert outcome_code.digest(one) == outcome_code.digest("def f(x):\n\n    return (x + 1)\n")
    assert outcome_code.digest(one) != outcome_code.digest(one.replace("1", "2"))
