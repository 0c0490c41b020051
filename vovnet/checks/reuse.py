"""Check points of block F2: continuing the text pass's key-value cache saves tokens and changes no answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from vovnet.checks.check import Check


def reuse_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Reuse reads fewer tokens (as many, where no question is looked at); of ``vovnet.analyses.reuse.reuse_rows``."""
    pairs = [(line, line["avg_text_tokens_with"], line["avg_text_tokens_without"]) for line in lines]
    return [
        Check(
            f"{_label(line)}: fewer text tokens read",
            with_it < without or line["action_rate_no"] == 1,
            f"{with_it:.1f} with, {without:.1f} without",
        )
        for line, with_it, without in pairs
        if with_it is not None and without is not None
    ]


def answer_checks(lines: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Reuse changes no action and no answer: one for each line of ``vovnet.analyses.reuse.changed_answers``."""
    checks = []
    for line in lines:
        changed, count = line["changed"], line["questions"]
        seen = f"{count - len(changed)} of {count} questions alike" + (f", not {min(changed)}" if changed else "")
        checks.append(Check(f"{_label(line)}: no action and no answer changes", not changed, seen))
    return checks


def _label(line: Mapping[str, Any]) -> str:
    return f"{line['dataset']}, {line['baseline_name'] or 'VoVNet'}, cache reuse"
