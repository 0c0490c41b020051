"""The tables that a run reads: each look's answers, their scores and NLL, and policies' values of the text pass."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.convert import (
    arrow,
    branch_from_table,
    column,
    scores_from_table,
    scores_table,
    state_from_table,
    text_from_table,
    values_table,
)
from vovnet.outcomes.judge import Judge, make_judge
from vovnet.outcomes.keys import are_given, nll_key, scores_key, state_key, values_key
from vovnet.outcomes.parts import DamagedPart
from vovnet.outcomes.rows import BranchOutcomes, Outcomes, TextOutcomes, no_text, scores_of, with_scores
from vovnet.outcomes.store import TEXT, OutcomeStore, Span, Table, TableKey
from vovnet.session import Session

log = logging.getLogger(__name__)
BLOCK = 65_536  # answers that are judged before their scores are written
KEPT = 8  # outcomes, and tables of them, that a session keeps
NLL = "nll"  # its column
JUDGED = "judged"  # column of scores: the checksum of the part that holds the answer
Columns = TypeVar("Columns", TextOutcomes, BranchOutcomes)


def nll_name(look: str) -> str:
    """What the NLL after a look is counted under."""
    return f"{look} {NLL}"


def state_name(look: str) -> str:
    """What the states after a look are counted under."""
    return f"{look} state"


@dataclass(frozen=True)
class Tables:
    """The tables of a configuration, by their names.

    Attributes:
        answers: of the text pass, where it is needed, and of each look.
        scores: of each look's answers.
        nll: of the references after each look, where it is needed.
        states: what the prefill of some looks yields for policies that look again.
    """

    answers: Mapping[str, Table]
    scores: Mapping[str, Table]
    nll: Mapping[str, Table]
    states: Mapping[str, Table]

    @classmethod
    def of(
        cls,
        store: OutcomeStore,
        keys: Mapping[str, TableKey],
        dataset: VQADataset,
        with_text: bool,
        with_nll: bool = False,
        states: Collection[str] = (),
    ) -> "Tables":
        """The tables of some keys, whether they exist or not."""
        answers = {name: store.table(key) for name, key in keys.items() if with_text or name != TEXT}
        looks = {name: table for name, table in answers.items() if name != TEXT}
        scores = {name: table.inner(scores_key(table.key, dataset)) for name, table in looks.items()}
        nll = {name: table.inner(nll_key(table.key)) for name, table in looks.items()} if with_nll else {}
        read = {name: table.inner(state_key(table.key)) for name, table in looks.items() if name in states}
        return cls(answers, scores, nll, read)

    @property
    def collected(self) -> dict[str, Table]:
        """The tables that a model fills, by the names that their rows are counted under."""
        nll = {nll_name(name): table for name, table in self.nll.items()}
        return {**self.answers, **nll, **{state_name(name): table for name, table in self.states.items()}}

    @property
    def ids(self) -> tuple[str, ...]:
        """All that determines what is in them."""
        return tuple(str(table.folder) for table in (*self.collected.values(), *self.scores.values()))

    def judge(self, dataset: VQADataset, stop: int) -> None:
        """Score the answers among the rows [0, stop) that are stored and have no score yet.

        Two jobs that score the same answers write the same rows, which does no harm.
        """
        judge = make_judge(dataset)
        for name, scores in self.scores.items():
            answers = self.answers[name]
            if are_given(answers.key) and scores.missing((0, stop)):
                raise VoVNetError(
                    f"the scores in {scores.folder} came with imported rows and are gone; import them again."
                )
            for gap in scores.missing((0, stop)):
                for start in range(*gap, BLOCK):
                    block = start, min(start + BLOCK, gap[1])
                    if scores.missing(block):  # another job may have judged it meanwhile
                        for span in answers.held(block):
                            self._judge(name, judge, span)

    def _judge(self, name: str, judge: Judge, span: Span) -> None:
        start, stop = span
        rows = self.answers[name].rows(stop, start)
        answers = column(rows.table["answer"])
        found = scores_of([judge(index, answer) for index, answer in enumerate(answers, start)])
        self.scores[name].write(start, scores_table(found).append_column(JUDGED, arrow(rows.checksums)), {})

    def text(self, stop: int) -> TextOutcomes:
        """Rows [0, stop) of the text pass.

        Raises:
            DamagedPart, KeyError: as ``Table.rows``.
        """
        rows = self.answers[TEXT].rows(stop)
        keep = partial(_kept, self.answers[TEXT], stop, [piece.path.stem for piece in rows.pieces])
        return text_from_table(rows.table, rows.matrix("hidden"), keep)

    def branch(self, name: str, stop: int) -> BranchOutcomes:
        """Rows [0, stop) of a look's answers with their scores.

        Raises:
            DamagedPart: as ``Table.rows``, or the scores are of answers that another part has replaced.
            KeyError: as ``Table.rows``.
        """
        rows, scores = self.answers[name].rows(stop), self.scores[name].rows(stop)
        table = scores.table
        if len(other := np.flatnonzero(column(table[JUDGED]) != rows.checksums)):
            raise scores.set_aside(int(other[0]), "the answers that it judges were replaced")
        beside: dict[str, Any] = {}
        if name in self.nll:
            beside["nll"] = column(self.nll[name].rows(stop).table[NLL])
        if name in self.states:
            read = self.states[name].rows(stop)
            beside |= vars(state_from_table(read.table, read.matrix("hidden")))
        return with_scores(replace(branch_from_table(rows.table), **beside), scores_from_table(table))

    def outcomes(self, actions: tuple[Action, ...], stop: int, session: Session) -> Outcomes:
        """Rows [0, stop); each table is read once a session.

        Raises:
            DamagedPart, KeyError: as ``branch``.
        """

        def once(name: str, read: Callable[[], Columns]) -> Columns:
            every = (self.answers, self.scores, self.nll, self.states)
            known = tuple(str(of[name].folder) for of in every if name in of)
            return session.once("rows", (known, stop), read, KEPT)

        return Outcomes(
            text=once(TEXT, lambda: self.text(stop)) if TEXT in self.answers else no_text(stop),
            branches={action: once(action.label, partial(self.branch, action.label, stop)) for action in actions},
        )


def _kept(text: Table, stop: int, parts: Sequence[str], policy: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A policy's values of the rows [0, stop) of a text table, [N, A]; made and written where they are not stored.

    Two jobs that make the same ones write the same rows, which does no harm.
    """
    table = text.inner(values_key(text.key, stop, parts, policy))
    try:
        return np.concatenate(table.rows(stop).matrix("values"))
    except KeyError:
        pass  # nobody has asked for them yet
    except DamagedPart as damage:
        log.warning("%s", damage)
    values = make()
    try:
        table.write(0, values_table(values), {})
    except VoVNetError as error:  # a full disk or a read-only store costs the next job time, and this one nothing
        log.warning("the policy's values are not kept: %s", error)
    return values
