"""Names out of files reach the terminal without control characters."""

import logging
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import typed
from vovnet.terminal import LineFormatter, counted, indented, say, show_warning, shown


def test_one_thing_is_not_several() -> None:
    assert [counted(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert counted(2, "loss") == "2 losses"


@given(st.text())
def test_no_control_character_is_shown(text: str) -> None:
    seen = shown(text)
    assert all(character.isprintable() or character.isspace() or ord(character) > 159 for character in seen)
    seen.encode()  # any terminal takes it
    assert shown(seen) == seen
    if text.isprintable():
        assert seen == text


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    say("\x1b[2Jé\ud800\u202e\tλ")
    assert capsys.readouterr().out == "\\x1b[2Jé\\ud800\\u202e\tλ\n"
    assert indented("a\nerror: b") == "a\n  error: b"


def test_a_log_line_holds_one_message() -> None:
    formatter = LineFormatter("%(levelname)s %(message)s")
    record = logging.LogRecord("n", logging.WARNING, "f", 1, "of %s", ("a\nINFO all is well\x1b[1A",), None)
    assert formatter.format(record) == "WARNING of a\n  INFO all is well\\x1b[1A"


def test_a_librarys_warning_is_shown_like_any_other_text(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show_warning
        warnings.warn("no glyph for \x1b[31m\nerror: b", UserWarning, stacklevel=1)
    shown_line = capsys.readouterr().err
    assert shown_line.endswith("UserWarning: no glyph for \\x1b[31m\n  error: b\n")


def test_a_command_shows_names_without_control_characters(easy_data: Path, tmp_path: Path) -> None:
    """In the lines of a sweep's jobs, in what it logs and in its table."""
    base = [f"dataset.path={easy_data}", f"paths.runs={tmp_path}", f"eval.checkpoint='{tmp_path}/a\x1b[31m\nerror: b'"]
    done = typed("eval", "-m", *base, "policy.lambda_cost=0.1", "dataset.prompt_template='{question}\x1b[7m'")
    assert done.returncode == 1
    assert f"policy file {tmp_path}/a\\x1b[31m\n  error: b does not exist" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert "\nerror: b" not in done.stderr
