"""Whether two implementations of one model read and answer alike."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
import torch

from vovnet.actions import USUAL, VISUAL_ACTIONS, Action
from vovnet.data import Item
from vovnet.vlm.decoding import distribution_stats
from vovnet.vlm.protocol import VLM, Decoding, Reading


def assert_alike(pair: tuple[VLM, VLM], items: Sequence[Item], decoding: Decoding) -> None:
    """Hidden states, logits, entropies, margins, counts, losses and answers, under every action after a text pass."""
    seen = []
    for vlm in pair:
        batch = vlm.builder.build(items, VISUAL_ACTIONS)
        with torch.inference_mode():
            text = vlm.read(batch, Action.NO)
            states = [vlm.read(batch, action, text) for action in USUAL]
            readings = [Reading(batch, action, state) for action, state in zip(USUAL, states, strict=True)]
            answers = [*chain(*vlm.answer(readings, decoding))]
            seen.append((states, answers, torch.cat([vlm.nll(state, batch.references) for state in states])))
    (fast, written, nll), (generic, also, other_nll) = seen
    for one, other in zip(fast, generic, strict=True):
        torch.testing.assert_close(other.hidden, one.hidden, atol=2e-4, rtol=0)
        torch.testing.assert_close(other.logits, one.logits, atol=2e-4, rtol=0)
        for here, there in zip(distribution_stats(other.logits), distribution_stats(one.logits), strict=True):
            torch.testing.assert_close(here, there, atol=2e-4, rtol=0)
        for name in ("prompt_tokens", "vision_tokens", "patches", "reused_tokens"):
            np.testing.assert_array_equal(getattr(other, name), getattr(one, name), err_msg=name)
    torch.testing.assert_close(other_nll, nll, atol=1e-4, rtol=0)
    for one, other in zip(written, also, strict=True):
        assert (other.text, other.final, other.tokens) == (one.text, one.final, one.tokens)
        assert other.confidence == pytest.approx(one.confidence, abs=1e-4)
