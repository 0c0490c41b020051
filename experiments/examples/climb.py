"""A baseline that may look twice: blind where the text is certain, else COARSE, then FULL where that is doubtful."""

from dataclasses import dataclass

import numpy as np

import vovnet
from vovnet import Action


@dataclass(frozen=True)
class Climb(vovnet.Policy):
    """Climbs from look to look until one is certain enough."""

    entropy: float = 0.3  # nats, of the text pass
    confidence: float = 0.9  # of COARSE's answer
    needs = frozenset({"text", "look:coarse"})

    def step(self, view: vovnet.View) -> vovnet.Step:
        """The text pass first; asked again about the questions whose thumbnail has been looked at."""
        coarse = view.seen.get(Action.COARSE)
        if coarse is not None:
            return vovnet.Step(np.where(coarse.confidence < self.confidence, Action.FULL, Action.COARSE))
        assert view.text is not None  # it is in `needs`
        certain = view.text.entropy < self.entropy
        return vovnet.Step(np.where(certain, Action.NO, Action.COARSE), answer=certain)
