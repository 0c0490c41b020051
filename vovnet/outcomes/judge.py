"""Where references meet answers; needs no model, so that stored answers are scored without one."""

from collections.abc import Callable, Iterable

from vovnet.data import VQADataset
from vovnet.outcomes.rows import BranchOutcomes, ModelOutcomes, scores_of, with_scores
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
