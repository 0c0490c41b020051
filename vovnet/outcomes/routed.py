"""What was done to each sample once a policy had chosen: the common form of replay and live runs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vovnet.actions import Action
from vovnet.outcomes.rows import BranchOutcomes, Outcomes


@dataclass(frozen=True)
class Routed:
    """One row per sample, [N] unless said otherwise.

    Attributes:
        actions: chosen ``Action`` values.
        chosen: the outcome of the chosen action.
        cost: normalised cost of the chosen action.
        values: the policy's estimates, [N, A], or None.
        entropy, margin: of the text pass.
        text_tokens: tokens of the text pass; 0 where none was needed.
    """

    actions: np.ndarray
    chosen: BranchOutcomes
    cost: np.ndarray
    values: np.ndarray | None
    entropy: np.ndarray
    margin: np.ndarray
    text_tokens: np.ndarray


def replay(
    outcomes: Outcomes, actions: np.ndarray, values: np.ndarray | None, max_tokens: int, reads_text: bool
) -> Routed:
    """Look the chosen outcomes up.

    A policy that needs no text pass reads the whole prompt at once: nothing is reused, and a NO
    answer's prompt is no text pass beside it but the prompt itself.
    """
    columns = {}
    for field in fields(BranchOutcomes):
        pieces = {action: getattr(outcomes.branches[action], field.name) for action in outcomes.branches}
        column = np.empty(len(actions), dtype=next(iter(pieces.values())).dtype)
        for action, piece in pieces.items():
            taken = actions == int(action)
            column[taken] = piece[taken]
        columns[field.name] = column
    if not reads_text:
        columns["reused_tokens"] = np.zeros_like(columns["reused_tokens"])
    unknown = set(np.unique(actions)) - {int(a) for a in outcomes.branches}
    if unknown:
        raise ValueError(f"no outcomes for actions {[Action(a).label for a in unknown]}")
    return Routed(
        actions=actions,
        chosen=BranchOutcomes(**columns),
        cost=columns["vision_tokens"] / max_tokens,
        values=values,
        entropy=outcomes.text.entropy,
        margin=outcomes.text.margin,
        text_tokens=outcomes.text.text_tokens if reads_text else np.zeros_like(outcomes.text.text_tokens),
    )


def join_routed(parts: Sequence[Routed]) -> Routed:
    """Batches in order as one."""
    chosen = {f.name: np.concatenate([getattr(p.chosen, f.name) for p in parts]) for f in fields(BranchOutcomes)}
    columns = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("actions", "cost", "entropy", "margin", "text_tokens")
    }
    values = None if parts[0].values is None else np.concatenate([p.values for p in parts if p.values is not None])
    return Routed(chosen=BranchOutcomes(**chosen), values=values, **columns)
