"""What was done to each sample once a policy had chosen: the common form of replay and live runs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.decision import Decision
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
        fallback: where an uncertain NO was raised, bool; None without a fallback.
        earlier: a pass before the chosen one, made where ``repeated``; its tokens are paid for too.
        repeated: bool; None where no sample was read twice.
    """

    actions: np.ndarray
    chosen: BranchOutcomes
    cost: np.ndarray
    values: np.ndarray | None
    entropy: np.ndarray
    margin: np.ndarray
    text_tokens: np.ndarray
    fallback: np.ndarray | None = None
    earlier: BranchOutcomes | None = None
    repeated: np.ndarray | None = None

    def paid(self, column: str) -> np.ndarray:
        """A branch column that adds up over passes, such as tokens or patches, [N]."""
        total: np.ndarray = getattr(self.chosen, column)
        if self.earlier is not None and self.repeated is not None:
            total = total + np.where(self.repeated, getattr(self.earlier, column), 0)
        return total


def replay(outcomes: Outcomes, decision: Decision, max_tokens: int, reads_text: bool) -> Routed:
    """Look the chosen outcomes up.

    A policy that needs no text pass reads the whole prompt at once: nothing is reused, and a NO
    answer's prompt is no text pass beside it but the prompt itself.
    """
    actions = decision.actions
    columns: dict[str, Any] = {}
    for field in fields(BranchOutcomes):
        pieces = {action: getattr(outcomes.branches[action], field.name) for action in outcomes.branches}
        if field.name == "hidden" or any(piece is None for piece in pieces.values()):
            continue
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
        values=decision.values,
        entropy=outcomes.text.entropy,
        margin=outcomes.text.margin,
        text_tokens=outcomes.text.text_tokens if reads_text else np.zeros_like(outcomes.text.text_tokens),
        fallback=decision.fallback,
    )


def look_twice(first: BranchOutcomes, routed: Routed, again: np.ndarray, max_tokens: int) -> Routed:
    """Charge a first pass to the samples that looked ``again`` and were routed to another one.

    Neither pass continues a text pass, of which there is none.
    """
    first = replace(first, reused_tokens=np.zeros_like(first.reused_tokens))
    cost = routed.cost + np.where(again, first.vision_tokens, 0) / max_tokens
    return replace(routed, cost=cost, earlier=first, repeated=again)


def join_routed(parts: Sequence[Routed]) -> Routed:
    """Batches in order as one."""
    chosen = BranchOutcomes.join([p.chosen for p in parts])
    columns = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("actions", "cost", "entropy", "margin", "text_tokens")
    }
    values = None if parts[0].values is None else np.concatenate([p.values for p in parts if p.values is not None])
    fallback = [p.fallback for p in parts if p.fallback is not None]
    repeated = [p.repeated for p in parts if p.repeated is not None]
    earlier = [p.earlier for p in parts if p.earlier is not None]
    return Routed(
        chosen=chosen,
        values=values,
        fallback=np.concatenate(fallback) if fallback else None,
        earlier=BranchOutcomes.join(earlier) if earlier else None,
        repeated=np.concatenate(repeated) if repeated else None,
        **columns,
    )
