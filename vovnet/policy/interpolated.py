"""VoVNet over more sizes than its head has learned: values of the sizes in between are interpolated."""

import numpy as np

from vovnet.actions import Action
from vovnet.outcomes.rows import TextOutcomes
from vovnet.policy.protocol import Value
from vovnet.policy.vovnet import ValueHead, VoVNet

LEAST = 1e-6  # of a maximal image; measured time may come to nothing


class Interpolated(VoVNet):
    """Chooses among a finer menu than its head's, so that what is spent on a question is nearly continuous.

    Between two looks of the head's menu, a value is linear in the logarithm of the cost: as an image grows by equal
    factors, its value rises by equal steps, so that a size in between may be the best one (on a line over the cost
    itself one of its ends always is). Like CARES (arXiv 2510.19496), which also learns a few sizes and serves all.

    Args:
        looks: cheapest first; every look of the head's menu among them.
    """

    def __init__(self, head: ValueHead, lambda_cost: float, looks: tuple[Action, ...]) -> None:
        super().__init__(head, lambda_cost)
        self.known = [looks.index(look) for look in self.looks]
        self.looks = looks

    def estimates(self, text: TextOutcomes, costs: np.ndarray) -> np.ndarray:
        """The head's values, and those in between."""
        values = np.empty(costs.shape)
        values[:, self.known] = self.head.values(text)
        for low, high in zip(self.known, self.known[1:], strict=False):
            for look in range(low + 1, high):
                share = _share(costs[:, low], costs[:, look], costs[:, high])
                values[:, look] = values[:, low] + share * (values[:, high] - values[:, low])
        return values

    def columns(self) -> dict[str, Value]:
        """The head's, and how many looks there are besides its own."""
        return super().columns() | {"interpolated": len(self.looks) - len(self.known)}


def _share(low: np.ndarray, cost: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far a cost is from one to another in its logarithm, 0 to 1, [N]; 0 where both are the same."""
    start, here, end = (np.log(np.maximum(one, LEAST)) for one in (low, cost, high))
    whole = end - start
    share: np.ndarray = np.clip((here - start) / np.where(whole > 0, whole, 1.0), 0.0, 1.0)
    return share
