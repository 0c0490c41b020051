"""Choosing with every look's score in hand (block H1): a bound, which exists in replay only."""

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from vovnet.actions import USUAL, Action, own_name
from vovnet.policy.decide import choose
from vovnet.policy.protocol import COSTS, OUTCOMES, Context, Policy, Step, Value, View
from vovnet.schema.ranges import STRICT


@dataclass(frozen=True, config=STRICT)
class Oracle(Policy):
    """cheapest_correct: the cheapest action whose score no action exceeds, so NO where all are wrong.

    utility: argmax of score - lambda * cost, the best any policy can do at this lambda.
    """

    name: Literal["oracle"]
    rule: Literal["cheapest_correct", "utility"]

    needs = frozenset({COSTS, OUTCOMES})
    lambda_cost = 0.0  # these two come from the keys of the policy, see ``make``
    looks = USUAL

    @property
    def reads_lambda(self) -> bool:
        """Only one of the rules does."""
        return self.rule == "utility"

    def menu(self, configured: tuple[Action, ...]) -> tuple[Action, ...]:
        """The configured one."""
        return configured

    def make(self, context: Context) -> Policy:
        """With the policy's lambda and actions."""
        return self.over(context.config.menu, context.config.policy.lambda_cost)

    def over(self, looks: tuple[Action, ...], lambda_cost: float = 0.0) -> "Oracle":
        """The same rule among some looks, at a lambda."""
        made = replace(self)
        object.__setattr__(made, "looks", looks)
        object.__setattr__(made, "lambda_cost", lambda_cost if self.reads_lambda else 0.0)
        return made

    def step(self, view: View) -> Step:
        """The best look of each question, of equal ones the cheapest."""
        assert view.outcomes is not None
        assert view.costs is not None
        scores = view.outcomes.stacked("score", self.looks)
        columns = choose(scores, view.costs, self.lambda_cost)
        return Step(np.array([int(a) for a in self.looks])[columns], values=scores)

    def columns(self) -> dict[str, Value]:
        """The rule, lambda where it counts, and the menu where it has looks of its own."""
        own = own_name(self.looks)
        return {"oracle_rule": self.rule, "lambda_cost": self.lambda_cost if self.reads_lambda else None, "looks": own}
