"""The split that is evaluated, and what of it the policy or the backbone was trained on."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring as quote
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from vovnet.data import VQADataset, load_dataset
from vovnet.data.guard import LeakReport
from vovnet.data.leaks import enforce, leak_report, recalled
from vovnet.errors import VoVNetError
from vovnet.fingerprint import digest
from vovnet.policy.card import UNKNOWN, PolicyCard
from vovnet.schema import DatasetConfig, RunConfig
from vovnet.scoring.official import AnswerSheet
from vovnet.session import Session
from vovnet.vlm.files import UNSAID, Checkpoint, TrainedOn

log = logging.getLogger(__name__)


def rule_of(dataset: VQADataset) -> str | None:
    """The rule by which answers are read, where the set or one of a mixture's sets has several."""
    return "+".join(sorted({member.rule for member in dataset.members if member.rule is not None})) or None


@dataclass(frozen=True)
class SplitColumns:
    """The first N samples of a split, column by column.

    Attributes:
        ids: as JSON, [N].
        questions: what predictions hold that no policy changes, as JSON objects without their braces, [N].
        groups: a number for each sample's group, [N].
        members: rows that come from each set of a mixture.
        sheets: what of each of these sets its own evaluator counts.
        categories: rows of each set and category, in order of their names.
    """

    ids: Sequence[str]
    questions: Sequence[str]
    groups: np.ndarray
    members: Mapping[str, np.ndarray]
    sheets: Mapping[str, AnswerSheet]
    categories: Mapping[tuple[str, str], np.ndarray]

    @cached_property
    def digest(self) -> str:
        """Tells questions apart, in 12 hex digits."""
        return digest(self.questions, 12)


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(map(quote, values))}]"


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
        ids=[quote(one.id) for one in samples],
        questions=[
            f'"id": {quote(one.id)}, "group": {quote(one.group)}, "category": {quote(one.category)}, '
            f'"question": {quote(one.question)}, "options": {_texts(one.options)}, "answers": {_texts(one.answers)}'
            for one in samples
        ],
        groups=np.unique([sample.group for sample in samples], return_inverse=True)[1],
        members={name: np.array(rows) for name, rows in members.items()},
        sheets={
            name: AnswerSheet.of([samples[row] for row in rows], dataset.member(rows[0]).metric)
            for name, rows in members.items()
        },
        categories={key: np.array(rows) for key, rows in sorted(categories.items())},
    )


def look_for_leaks(
    config: RunConfig,
    checkpoint: Checkpoint,
    card: PolicyCard | None,
    dataset: VQADataset,
    session: Session | None = None,
) -> list[dict[str, Any]]:
    """The guard's verdicts on a policy, its backbone and the split they are evaluated on, for summary.json.

    A baseline was trained on nothing, and of a published backbone nobody knows. Where training data are not on this
    machine, that is said and recorded: what a file names is neither drawn nor downloaded.

    Raises:
        VoVNetError: an evaluation sample is in the training data.
    """
    seen = dict.fromkeys((of, "backbone") for of in checkpoint.trained_on)
    if card is not None:
        said = UNSAID if card.dataset == UNKNOWN else TrainedOn(card.dataset, card.data_fingerprint, card.data_config)
        if (said, "backbone") not in seen:
            seen[said, "policy"] = None
    reports, unchecked = list[LeakReport](), list[dict[str, Any]]()
    for trained_on, what in seen:
        found = _compared(config, trained_on, dataset, session)
        if isinstance(found, LeakReport):
            reports.append(found)
        else:
            name = trained_on.dataset
            log.warning("the leak guard did not look into the %s's training data (%s): %s", what, name, found)
            unchecked.append({"training": {"name": name}, "passed": None, "why": found})
    return [*enforce(reports, config.leaks), *unchecked]


def _compared(
    config: RunConfig, trained_on: TrainedOn, dataset: VQADataset, session: Session | None
) -> LeakReport | str:
    """What the guard finds between a training split and an evaluation split, or why it cannot look."""
    folder = Path(config.paths.data)
    if trained_on == UNSAID:
        return "its file does not say what it was trained on"
    if not re.fullmatch("[0-9a-f]{64}", trained_on.fingerprint):  # it becomes a part of a file's name
        return "its account of them is damaged: their fingerprint is no SHA-256"
    if (known := recalled(trained_on.fingerprint, dataset.fingerprint, folder)) is not None:
        return known
    try:
        named = TypeAdapter(DatasetConfig).validate_json(trained_on.config)
        training = load_dataset(named, "train", only_local=True, session=session)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{key}: " for key in first["loc"])
        return f"its account of them is damaged: {where}{first['msg']}"
    except (VoVNetError, OSError) as error:
        return f"the training data cannot be opened: {error}"
    if training.fingerprint != trained_on.fingerprint:
        return "the training data are not what they were"
    return leak_report(training, dataset, folder)
