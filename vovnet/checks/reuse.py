"""Check points of block F2: continuing the text pass's key-value cache saves tokens and changes no answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from vovnet.checks.check import Check


def reuse_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Reuse reads fewer tokens (as many, where no question is looked at).

    Args:
        lines: of ``vovnet.analyses.reuse.reuse_rows``.
    """
    checks = []
    for line in lines:
        with_it, without = line["avg_text_tokens_with"], line["avg_text_tokens_without"]
        if with_it is not None and without is not None:
            fewer, looks = with_it < without, line["action_rate_no"] < 1
            seen = f"{with_it:.1f} with, {without:.1f} without"
            checks.append(Check(f"{_label(line)}: fewer text tokens read", fewer or not looks, seen))
    return checks


def answer_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Reuse changes no action and no answer, question by question.

    Args:
        lines: of ``vovnet.analyses.reuse.changed_answers``.
    """
    checks = []
    for line in lines:
        changed, count = line["changed"], line["questions"]
        seen = f"{count - len(changed)} of {count} questions alike" + (f", not {min(changed)}" if changed else "")
        checks.append(Check(f"{_label(line)}: no action and no answer changes", not changed, seen))
    return checks


def _label(line: Mapping[str, Any]) -> str:
    return f"{line['dataset']}, {line['baseline_name'] or 'VoVNet'}, cache reuse"
