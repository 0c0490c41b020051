"""A router over the question's words: TF-IDF and least squares, fitted to stored outcomes of the training split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

import vovnet


@dataclass
class Words(vovnet.Policy):
    """Looks where the words promise that FULL scores at least so much more than NO."""

    gain: float = 0.05
    questions: int = 600  # to learn from
    needs = frozenset({"samples"})
    looks = (vovnet.Action.NO, vovnet.Action.FULL)

    def make(self, context: vovnet.Context) -> Self:
        """What a command does before the first question."""
        return self.fit(context.outcomes("train", self.questions))

    def fit(self, outcomes: vovnet.Outcomes) -> Self:
        """Learn what looking brings."""
        bags = [set(sample.question.lower().split()) for sample in outcomes.samples]
        self.rarity = {word: -np.log(np.mean([word in bag for bag in bags])) for word in sorted(set().union(*bags))}
        no, _, full = outcomes.scores.T
        self.weights = np.linalg.lstsq(self.features(outcomes.samples), full - no)[0]
        return self

    def features(self, questions: Sequence[vovnet.Sample | vovnet.Question]) -> np.ndarray:
        """A constant and TF-IDF of every known word, [N, words + 1]."""
        texts = [one.question.lower().split() for one in questions]
        return np.array([[1, *(text.count(word) * rarity for word, rarity in self.rarity.items())] for text in texts])

    def step(self, view: vovnet.View) -> vovnet.Step:
        """One step: each question is answered from the look that is chosen here."""
        return vovnet.Step(np.where(self.features(view.samples or ()) @ self.weights >= self.gain, *self.looks[::-1]))
