"""Where references meet answers, without a model, and the share of answers that could not be read."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.outcomes.rows import BranchOutcomes, ModelOutcomes, Outcomes, scores_of, with_scores
from vovnet.scoring import Score, scorer_named

Judge = Callable[[int, str | None], Score]  # sample index, and ``Answer.final``


def make_judge(dataset: VQADataset) -> Judge:
    """The data set's scoring rule by sample index; of a mixture, that of the set that the sample comes from."""

    scorers = {id(member): scorer_named(member.scorer) for member in dataset.members}

    def judge(index: int, answer: str | None) -> Score:
        member = dataset.member(index)
        return scorers[id(member)](answer, member[dataset.place(index)])

    return judge


def judged(model: ModelOutcomes, indices: Iterable[int], judge: Judge) -> BranchOutcomes:
    """Outcomes with the scores of their answers, which are of these samples."""
    scores = scores_of([judge(index, answer) for index, answer in zip(indices, model.answer, strict=True)])
    return with_scores(model, scores)


log = logging.getLogger(__name__)
MOST_UNREAD = 0.1  # share that passes without a word


def unread_shares(outcomes: Outcomes, actions: Sequence[Action], rows: np.ndarray) -> dict[str, float]:
    """Share of unreadable answers among some rows, by the action's label."""
    return {action.label.upper(): float((~outcomes.branches[action].parsed[rows]).mean()) for action in actions}


def warn_of_unread(shares: Mapping[str, float], what: str) -> bool:
    """Log one line where under some action more than ``MOST_UNREAD`` could not be read; whether it did."""
    if not any(share > MOST_UNREAD for share in shares.values()):
        return False
    log.warning(
        "of the answers that %s, many could not be read and score 0 (%s); raise eval.max_new_tokens if they are cut",
        what, in_words(shares),
    )  # fmt: skip
    return True


def in_words(shares: Mapping[str, float]) -> str:
    """Shares by action or data set, for people."""
    return ", ".join(f"{label} {share:.1%}" for label, share in shares.items())
