"""A check point of the specification, and whether a run's answers could be read at all.

An answer that cannot be read scores 0, so a run whose answers are all cut off looks like one of a model that knows
nothing. Above ``MOST_UNREAD`` that is said wherever the run's accuracy is shown.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vovnet.outcomes.judge import MOST_UNREAD, in_words
from vovnet.results.columns import ResultRow
from vovnet.scoring.official import OfficialScores
from vovnet.terminal import counted


@dataclass(frozen=True)
class Check:
    """A check point: what was expected, whether it held, what was seen."""

    name: str
    passed: bool
    observed: str

    def as_json(self) -> dict[str, Any]:
        """As summary.json holds it."""
        return {"name": self.name, "passed": self.passed, "observed": self.observed}


def telling(lines: Sequence[Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    """The settings in which some lines of one data set differ, so that check points name them."""
    values: dict[tuple[str, Any], set[Any]] = {}
    for line in lines:
        for name in names:
            values.setdefault((name, line["dataset"]), set()).add(line.get(name))
    return list(dict.fromkeys(name for (name, _), found in values.items() if len(found) > 1))


def told(line: Mapping[str, Any], names: Iterable[str]) -> str:
    """Settings as the end of a check point's subject; those that a line has."""
    found = ((name, line.get(name)) for name in names)
    return "".join(
        f", {name}={value:g}" if isinstance(value, float) else f", {name}={value}"
        for name, value in found
        if value is not None
    )


log = logging.getLogger(__name__)
SHOWN = 3  # settings that a warning about several names


def is_unreadable(row: ResultRow) -> bool:
    """Whether more of a run's answers than ``MOST_UNREAD`` could not be read."""
    return row.unparsed_rate > MOST_UNREAD


def readable_check(row: ResultRow) -> Check:
    """The check point of one run."""
    name = f"{row.dataset}, {row.baseline_name or 'VoVNet'}: at most {MOST_UNREAD:.0%} of the answers are unreadable"
    seen = f"{row.unparsed_rate:.1%}{_cause(row)}" if is_unreadable(row) else f"{row.unparsed_rate:.1%}"
    return Check(name, not is_unreadable(row), seen)


def readable_checks(rows: Sequence[ResultRow]) -> list[Check]:
    """The failed ones of several runs; those that passed are in the runs' own summaries."""
    return list(dict.fromkeys(readable_check(row) for row in rows if is_unreadable(row)))


def unread_sets(scores: Mapping[str, OfficialScores]) -> list[Check]:
    """The failed check points of a mixture's sets: one whose answers are read hides another whose answers are not."""
    unread = {name: score.unparsed_rate for name, score in scores.items() if score.unparsed_rate > MOST_UNREAD}
    if len(scores) == 1 or not unread:
        return []
    log.warning("of a mixture's sets, answers could not be read and score 0: %s", in_words(unread))
    return [Check(f"{name}: at most {MOST_UNREAD:.0%} of the answers are unreadable", False, f"{rate:.1%}")
            for name, rate in unread.items()]  # fmt: skip


def warn_of_unreadable(rows: Sequence[ResultRow]) -> None:
    """Log one line where a run's answers, or those of some runs of a table, could not be read."""
    if sentence := unreadable_sentence(rows):
        log.warning("%s", sentence)


def unreadable_sentence(rows: Sequence[ResultRow]) -> str:
    """What people must know of rows whose answers could not be read; empty where all could be."""
    found = [row for row in rows if is_unreadable(row)]
    if not found:
        return ""
    worst = max(found, key=lambda row: row.unparsed_rate)
    rate = f"{worst.unparsed_rate:.1%} of the answers could not be read and score 0{_cause(worst)}"
    if len(rows) == 1:
        return f"{worst.dataset}: {rate}; its accuracy says little about the model"
    names = list(dict.fromkeys(f"{row.dataset} {row.baseline_name or 'VoVNet'}" for row in found))
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return (
        f"{len(found)} of {counted(len(rows), 'row')} say little about the model ({shown}), "
        f"see their unparsed_rate: up to {rate}"
    )


def _cause(row: ResultRow) -> str:
    """Why most of the unreadable answers are, where the row tells."""
    if row.unparsed_cut_rate is not None and 2 * row.unparsed_cut_rate > row.unparsed_rate:
        return ", most of them cut at eval.max_new_tokens: raise it (a thinking model needs thousands)"
    return ", the predictions show them"
