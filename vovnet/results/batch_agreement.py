"""Whether a question's action and answer depend on the questions beside it.

In half precision a GPU sums in another order for another batch size, which moves logits in their last bits. Where two
tokens or two actions are about as good, it may choose the other one.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from vovnet.data import Item
from vovnet.outcomes.routed import join_routed
from vovnet.policy.route import Router

log = logging.getLogger(__name__)
SAMPLE = 64  # questions
WARN_ABOVE = 0.01  # share of them


def depends_on_batches(router: Router) -> bool:
    """Whether the model's numbers may differ from batch size to batch size by more than float32's last bits."""
    return router.backbone.device.type == "cuda" and router.backbone.model.dtype != torch.float32


def batch_agreement(router: Router, items: Sequence[Item]) -> dict[str, Any]:
    """Answer questions one by one and all at once; the shares whose action and whose answer differ. Warns of many."""
    router = replace(router, threads=0)  # one question after another, nothing ahead
    with torch.inference_mode():
        alone, together = join_routed([router([one]) for one in items]), router(items)
    differ = {
        "actions_differ": float((alone.actions != together.actions).mean()),
        "answers_differ": float((alone.chosen.prediction != together.chosen.prediction).mean()),
    }
    if max(differ.values()) > WARN_ABOVE:
        log.warning(
            "of %d questions, %.1f %% take another action and %.1f %% get another answer alone than in one batch "
            "(half precision); single questions cannot be compared across batch sizes: backbone.dtype=float32 or "
            "backbone.batch_invariant=true makes them alike",
            len(items),
            100 * differ["actions_differ"],
            100 * differ["answers_differ"],
        )
    return {"questions": len(items), **differ}
