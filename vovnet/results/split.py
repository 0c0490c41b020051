"""What every result of a split has in common, worked out once a session: a sweep's jobs ask the same questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as quote

import numpy as np

from vovnet.data import VQADataset
from vovnet.scoring.official import AnswerSheet
from vovnet.session import Session


def rule_of(dataset: VQADataset) -> str | None:
    """The rule by which answers are read, where the set or one of a mixture's sets has several."""
    return "+".join(sorted({member.rule for member in dataset.members if member.rule is not None})) or None


@dataclass(frozen=True)
class SplitColumns:
    """The first N samples of a split, column by column.

    Attributes:
        heads: the columns of predictions.jsonl that no policy changes, as the beginning of a JSON object, [N].
        answers: the references, as JSON lists, [N].
        groups: a number for each sample's group, [N].
        members: rows that come from each set of a mixture.
        sheets: what of each of these sets its own evaluator counts.
        categories: rows of each set and category, in order of their names.
    """

    heads: Sequence[str]
    answers: Sequence[str]
    groups: np.ndarray
    members: Mapping[str, np.ndarray]
    sheets: Mapping[str, AnswerSheet]
    categories: Mapping[tuple[str, str], np.ndarray]


KEPT = 2  # splits; a million questions take half a gigabyte


def split_columns(dataset: VQADataset, count: int, session: Session) -> SplitColumns:
    """The columns of the first ``count`` samples."""
    return session.once("split", (dataset, count), lambda: _columns(dataset, count), KEPT)


def _columns(dataset: VQADataset, count: int) -> SplitColumns:
    samples = [dataset[i] for i in range(count)]
    members: dict[str, list[int]] = {}
    categories: dict[tuple[str, str], list[int]] = {}
    for row, sample in enumerate(samples):
        name = dataset.member(row).name
        members.setdefault(name, []).append(row)
        categories.setdefault((name, sample.category), []).append(row)
    return SplitColumns(
        heads=[
            f'{{"id": {quote(one.id)}, "group": {quote(one.group)}, "category": {quote(one.category)}'
            for one in samples
        ],
        answers=[f"[{', '.join(map(quote, sample.answers))}]" for sample in samples],
        groups=np.unique([sample.group for sample in samples], return_inverse=True)[1],
        members={name: np.array(rows) for name, rows in members.items()},
        sheets={
            name: AnswerSheet.of([samples[row] for row in rows], dataset.member(rows[0]).metric)
            for name, rows in members.items()
        },
        categories={key: np.array(rows) for key, rows in sorted(categories.items())},
    )
