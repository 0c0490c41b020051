"""Stored answers judged again: by another rule, or by a scorer that has changed; no model is needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vovnet.data import Sample
from vovnet.errors import VoVNetError
from vovnet.outcomes.convert import column, scores_from_table
from vovnet.outcomes.keys import are_given, scores_key
from vovnet.outcomes.rows import BranchOutcomes, Scores, scores_of
from vovnet.outcomes.store import Table, TableKey, read_description
from vovnet.outcomes.tables import JUDGED
from vovnet.outcomes.transfer import Present
from vovnet.scoring import SCORERS, Score, Scorer, scorer_named

EARLIER = "earlier"


@dataclass(frozen=True)
class Change:
    """An answer whose score, or whether it was read or declines, differs."""

    dataset: str
    look: str
    sample: Sample
    prediction: str
    before: Score
    after: Score

    def as_json(self) -> dict[str, Any]:
        """A line of the file of changes."""
        return {
            "dataset": self.dataset, "id": self.sample.id, "look": self.look, "prediction": self.prediction,
            "answers": list(self.sample.answers), "score_before": self.before.value, "score_after": self.after.value,
            "parsed_before": self.before.parsed, "parsed_after": self.after.parsed,
            "refused_before": self.before.refused, "refused_after": self.after.refused,
        }  # fmt: skip


@dataclass(frozen=True)
class Rescored:
    """What another scorer makes of stored answers.

    Attributes:
        before, after: what has judged, in words.
        lines: counts and accuracies by data set and look.
        changes: every answer that is judged otherwise.
    """

    before: str
    after: str
    lines: list[dict[str, Any]]
    changes: list[Change]


def rescore(present: Present, rule: str) -> Rescored:
    """Compare the configured scores (of imported rows those that were given) with those of a rule.

    Args:
        rule: one of the data set's rules, the name of a scorer, or ``earlier``: the newest scores that another version
            or rule has left in the store are compared with the configured scorer's.

    Raises:
        VoVNetError: no set has the rule, or there are no earlier scores.
    """
    dataset, size = present.dataset, len(present.outcomes)
    samples = [dataset[row] for row in range(size)]
    names = np.array([dataset.member(row).name for row in range(size)], dtype=object)
    judge_of = None if rule == EARLIER else _judges(present, rule)
    lines, changes, before = list[dict[str, Any]](), list[Change](), ""
    for look, branch in present.outcomes.branches.items():
        label = look.label
        earlier: Scores = branch
        after: Scores = branch
        if judge_of is None:
            before, earlier = _earlier(present, present.tables[label], size)
        else:
            before = _configured(present, present.tables[label])
            after = scores_of([judge_of(row)(answer, samples[row]) for row, answer in enumerate(branch.answer)])
        differ = (earlier.score != after.score) | (earlier.parsed != after.parsed) | (earlier.refused != after.refused)
        for name in dict.fromkeys(names.tolist()):
            lines.append(_line(name, label, earlier, after, names == name, differ))
        changes += _changes(branch, label, samples, names, earlier, after, differ)
    return Rescored(before, "the configured scorer" if judge_of is None else rule, lines, changes)


def _line(name: str, look: str, before: Scores, after: Scores, own: np.ndarray, differ: np.ndarray) -> dict[str, Any]:
    return {
        "dataset": name,
        "look": look,
        "answers": int(own.sum()),
        "changed": int((own & differ).sum()),
        "higher": int((own & (after.score > before.score)).sum()),
        "lower": int((own & (after.score < before.score)).sum()),
        "accuracy_before": float(before.score[own].mean()),
        "accuracy_after": float(after.score[own].mean()),
        "unparsed_before": float((~before.parsed[own]).mean()),
        "unparsed_after": float((~after.parsed[own]).mean()),
    }


def _changes(
    branch: BranchOutcomes, look: str, samples: list[Sample], names: np.ndarray, before: Scores, after: Scores,
    differ: np.ndarray,
) -> Iterator[Change]:  # fmt: skip
    for row in np.flatnonzero(differ).tolist():
        one, other = (Score(float(s.score[row]), bool(s.parsed[row]), bool(s.refused[row])) for s in (before, after))
        yield Change(str(names[row]), look, samples[row], str(branch.prediction[row]), one, other)


def _judges(present: Present, rule: str) -> Callable[[int], Callable[[str | None, Sample], Score]]:
    """The scorer of each question: the rule where its set has it, else the configured one."""
    dataset = present.dataset
    found = {id(member): _by_rule(member.scorer, rule) for member in dataset.members}
    if not any(found.values()):
        rules = sorted({name.partition("/")[2] or name for name in SCORERS})
        raise VoVNetError(f"store.rescore={rule} is no rule or scorer; choose one of {', '.join(rules)}, or {EARLIER}.")
    usual = {id(member): scorer_named(member.scorer) for member in dataset.members}

    def judge_of(row: int) -> Callable[[str | None, Sample], Score]:
        member = id(dataset.member(row))
        return found[member] or usual[member]

    return judge_of


def _by_rule(scorer: Any, rule: str) -> Scorer | None:
    """A set's scorer under another rule, or the scorer of that name; None where there is neither."""
    own = f"{str(scorer).partition('/')[0]}/{rule}"
    if own in SCORERS:
        return SCORERS[own]
    return SCORERS.get(rule)


def _configured(present: Present, table: Table) -> str:
    if are_given(table.key):
        return f"given by {present.engine}"
    return ", ".join(dict.fromkeys(str(scorer_named(member.scorer).name) for member in present.dataset.members))


def _earlier(present: Present, table: Table, size: int) -> tuple[str, Scores]:
    """The newest scores beside some answers that are not the configured scorer's."""
    now = scores_key(table.key, present.dataset).id
    folders = [path for path in table.folder.glob("scores-*/") if path.name != now]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        facts = (read_description(folder) or {}).get("facts")
        scores = None if facts is None else table.inner(TableKey("scores", facts))
        if scores is None or scores.folder != folder or scores.missing((0, size)):
            continue
        rows = scores.rows(size).table
        if (column(rows[JUDGED]) == table.rows(size).checksums).all():
            return f"{scores.key.facts.get('scorers', 'scores that were given')}", scores_from_table(rows)
    raise VoVNetError(
        f"the store holds no earlier scores of the look {table.key.branch}; name a rule by store.rescore=RULE."
    )
