"""What a policy hands on."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decision:
    """What a policy chose.

    Attributes:
        actions: ``Action`` values, int64 [N].
        values: estimated score per action of the policy's space, [N, A]; None for fixed rules.
        fallback: where an uncertain NO was raised, bool [N]; None where no fallback is on.
    """

    actions: np.ndarray
    values: np.ndarray | None = None
    fallback: np.ndarray | None = None
