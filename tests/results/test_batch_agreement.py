"""Answers alone and in a batch: how many differ is counted and, where they are many, said."""

from dataclasses import dataclass

import numpy as np
import pytest

from tests.outcomes.test_scores import said
from vovnet.outcomes.routed import Routed
from vovnet.outcomes.rows import scores_of, with_scores
from vovnet.results.live import batch_agreement
from vovnet.scoring import Score


@dataclass(frozen=True)
class Moody:
    """A router that answers some questions otherwise when they are alone."""

    actions: int
    answers: int
    threads: int = 2

    def __call__(self, items: list[int]) -> Routed:
        alone, size = len(items) == 1, len(items)
        texts = ["other" if alone and row < self.answers else "same" for row in items]
        actions = np.array([2 if alone and row < self.actions else 1 for row in items])
        nothing = np.zeros(size)
        chosen = with_scores(said(texts), scores_of([Score(1.0, True)] * size))
        return Routed(actions, chosen, nothing, None, nothing, nothing, nothing)


@pytest.mark.parametrize(("actions", "answers", "warned"), [(0, 0, False), (0, 3, True), (2, 0, True)])
def test_differences_are_counted(caplog: pytest.LogCaptureFixture, actions: int, answers: int, warned: bool) -> None:
    found = batch_agreement(Moody(actions, answers), list(range(64)))  # type: ignore[arg-type]
    assert found == {"questions": 64, "actions_differ": actions / 64, "answers_differ": answers / 64}
    assert ("alone than in one batch" in caplog.text) == warned
