"""The share of answers that could not be read, in what is decided or learned from."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from vovnet.actions import Action
from vovnet.outcomes.rows import Outcomes

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
