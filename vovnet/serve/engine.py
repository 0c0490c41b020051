"""The routed model, each question at a lambda of its own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from vovnet.actions import Action
from vovnet.api.router import Reply, Router
from vovnet.policy.fixed import Always
from vovnet.policy.protocol import Policy, Step, Value, View
from vovnet.results.setting import make_policy
from vovnet.schema import RunConfig
from vovnet.serve.asked import Question, RefusedError
from vovnet.session import Session

LAMBDAS = 256  # whose policies are kept; they share their head


class Priced(Policy):
    """Decides as a policy does at the lambda of each question.

    Attributes:
        lambdas: of the questions of the batch, by their places in it.
    """

    def __init__(self, at: Callable[[float], Policy], usual: float) -> None:
        self.at, self.usual = at, at(usual)
        self.lambdas: Sequence[float] = ()
        self.name, self.needs, self.looks = self.usual.name, self.usual.needs, self.usual.looks
        self.file, self.card = self.usual.file, self.usual.card

    def step(self, view: View) -> Step:
        """What the policy says at each lambda that occurs, put together."""
        lambdas = np.array(self.lambdas)[view.rows]
        chosen: Step | None = None
        for price in np.unique(lambdas).tolist():
            said, own = self.at(price).step(view), lambdas == price
            answer = np.ones(len(view), dtype=bool) if said.answer is None else said.answer
            if chosen is None:
                chosen = Step(said.looks.copy(), answer.copy())
            assert chosen.answer is not None
            chosen.looks[own], chosen.answer[own] = said.looks[own], answer[own]
        assert chosen is not None
        return chosen

    def columns(self) -> dict[str, Value]:
        """The policy's."""
        return self.usual.columns()

    def label(self) -> str:
        """The policy's."""
        return self.usual.label()

    def only_replayed(self) -> str:
        """As the policy."""
        return self.usual.only_replayed()


class Engine:
    """Answers questions as the configured policy decides.

    Raises:
        VoVNetError: as ``make_policy`` and ``Router.of``.
    """

    def __init__(self, config: RunConfig, session: Session) -> None:
        @lru_cache(LAMBDAS)
        def at(price: float) -> Policy:
            return make_policy(replace(config, policy=replace(config.policy, lambda_cost=price)), session)

        self.usual = config.policy.lambda_cost
        self.reads_lambda = config.policy.baseline.reads_lambda
        self._policy = Priced(at, self.usual)
        self._router = Router.of(config, self._policy, session)
        self._blind = Router.of(config, Always(Action.NO), session)  # of questions about no image

    def lambda_of(self, question: Question) -> float:
        """At which a question is decided.

        Raises:
            RefusedError: the policy reads none.
        """
        if question.lambda_cost is not None and not self.reads_lambda:
            raise RefusedError(f"{self._policy.name} reads no lambda_cost; leave it out.")
        return self.usual if question.lambda_cost is None else question.lambda_cost

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        """Answer questions that are ``alike``; called by one thread at a time.

        Raises:
            VoVNetError: one of them cannot be answered, such as one that is longer than the model's context.
        """
        self._policy.lambdas = [self.lambda_of(question) for question in questions]
        try:
            asked = [(one.text, one.images, one.options) for one in questions]
            router = self._router if questions[0].images else self._blind
            return router.answer(asked, questions[0].max_tokens)
        finally:
            self._router.forget()  # a server's images are not asked about for ever

    def free_memory(self) -> None:
        """Called after memory ran out."""
        self._router.free_memory()
