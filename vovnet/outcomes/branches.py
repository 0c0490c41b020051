"""Runs the branches of one batch. Collection, live evaluation and live training share this code."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.judge import Judge, judged
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, ModelOutcomes, TextOutcomes
from vovnet.vlm.decoding import distribution_stats
from vovnet.vlm.protocol import VLM, Answer, Batch, Decoding, Reading, State


@dataclass(frozen=True)
class TextState:
    """A text pass as tensors: the prefill and the features read off it."""

    prefill: Any  # a ``State`` of the model's own
    entropy: Tensor
    margin: Tensor


def read_text(vlm: VLM, batch: Batch) -> TextState:
    """The text pass of a batch. Entropy and margin are read at the last real token."""
    prefill = vlm.read(batch, Action.NO)
    # How many rows there are decides how a GPU sums up each of them.
    rows = prefill.logits.split(1) if vlm.batch_invariant else [prefill.logits]
    entropy, margin = (torch.cat(parts) for parts in zip(*map(distribution_stats, rows), strict=True))
    return TextState(prefill, entropy, margin)


def text_outcomes(state: TextState, batch: Batch, dtype: torch.dtype) -> TextOutcomes:
    """Features of a batch as stored.

    Raises:
        VoVNetError: a feature is NaN or infinite.
    """
    hidden = state.prefill.hidden.detach().to(dtype).cpu()
    entropy, margin = state.entropy.detach().cpu(), state.margin.detach().cpu()
    check_finite({"hidden": hidden, "entropy": entropy, "margin": margin}, batch)
    return TextOutcomes(
        hidden=BlockRows([hidden.numpy()]),
        entropy=entropy.numpy(),
        margin=margin.numpy(),
        text_tokens=state.prefill.prompt_tokens.astype(np.int32),
    )


def run_branch(
    vlm: VLM,
    batch: Batch,
    action: Action,
    text: State | None,
    decoding: Decoding,
    seed: int,
    with_nll: bool,
    with_hidden: bool = False,
) -> ModelOutcomes:
    """Answer a batch under one action.

    Without a text pass the whole prompt is read at once and nothing is reused.

    Args:
        with_nll: measure the reference's NLL, which costs a pass over it.
        with_hidden: keep the hidden state at the last token of the prompt.
    """
    begun = time.perf_counter()
    state = vlm.read(batch, action, text)
    reading = Reading(batch, action, state)
    (answers,) = vlm.answer([reading], decoding, seed)
    outcomes = _branch_outcomes(reading, answers, text, (time.perf_counter() - begun) / len(batch))
    if with_nll:
        outcomes = replace(outcomes, nll=_nll(vlm, batch, state))
    if with_hidden:
        hidden = state.hidden.detach().to(vlm.feature_dtype).cpu()
        check_finite({"hidden": hidden}, batch)
        outcomes = replace(outcomes, hidden=BlockRows([hidden.numpy()]))
    return outcomes


def branch_nll(vlm: VLM, batch: Batch, action: Action, text: State | None) -> np.ndarray:
    """The references' NLL under one action, [B], where the answers are known already."""
    return _nll(vlm, batch, vlm.read(batch, action, text))


def _nll(vlm: VLM, batch: Batch, state: State) -> np.ndarray:
    nll = vlm.nll(state, batch.references)
    check_finite({"answer NLL": nll}, batch)
    return nll.detach().cpu().numpy()


@dataclass(frozen=True)
class Group:
    """Samples that chose one action, their images, and their text pass where there was one."""

    batch: Batch
    action: Action
    text: State | None


def run_groups(vlm: VLM, groups: Sequence[Group], decoding: Decoding, judge: Judge, seed: int) -> list[BranchOutcomes]:
    """Answer and judge groups of different actions: each is read under its action. No NLL is measured."""
    begun = time.perf_counter()
    readings = [Reading(g.batch, g.action, vlm.read(g.batch, g.action, g.text)) for g in groups]
    answers = vlm.answer(readings, decoding, seed)
    seconds = (time.perf_counter() - begun) / sum(len(group.batch) for group in groups)
    return [
        judged(_branch_outcomes(reading, said, group.text, seconds), group.batch.indices, judge)
        for reading, said, group in zip(readings, answers, groups, strict=True)
    ]


def _branch_outcomes(reading: Reading, answers: Sequence[Answer], text: State | None, seconds: float) -> ModelOutcomes:
    state, size = reading.state, len(reading.batch)
    # Logits that are NaN or infinite anywhere along an answer leave no probability of it.
    confidence = torch.tensor([answer.confidence for answer in answers])
    name = reading.action.label.upper()
    check_finite({f"probability of the {name} answer (its logits)": confidence}, reading.batch)
    # An answer without an image goes on from the text pass itself.
    reused = state.prompt_tokens if text is not None and state is text else state.reused_tokens
    return ModelOutcomes(
        prediction=np.array([answer.text for answer in answers], dtype=object),
        answer=np.array([answer.final for answer in answers], dtype=object),
        confidence=confidence.numpy(),
        vision_tokens=state.vision_tokens.astype(np.int32),
        prompt_tokens=state.prompt_tokens.astype(np.int32),
        reused_tokens=reused.astype(np.int32),
        patches=state.patches.astype(np.int32),
        generated_tokens=np.array([answer.tokens for answer in answers], dtype=np.int32),
        seconds=np.full(size, seconds, dtype=np.float32),
    )


def check_finite(values: dict[str, Tensor], batch: Batch) -> None:
    """Refuse values [B, ...] that are NaN or infinite.

    Raises:
        VoVNetError: names the value and the first sample that has it.
    """
    for name, value in values.items():
        finite = torch.isfinite(value)
        if not bool(finite.all()):
            raise not_finite(name, finite, batch)


def not_finite(name: str, finite: Tensor, batch: Batch) -> VoVNetError:
    """What to say of values that are not all finite, bool [B, ...]: their name and the first sample that has one."""
    sample = batch.ids[int((~finite.reshape(len(batch), -1).all(1)).nonzero()[0])]
    return VoVNetError(
        f"sample {sample}: the {name} is NaN or infinite; the backbone's weights are damaged or "
        "overflow in this precision, try backbone.dtype=float32."
    )


def batch_rows(order: Sequence[int], batch_size: int) -> Iterable[list[int]]:
    """Cut an order of samples into batches."""
    for start in range(0, len(order), batch_size):
        yield list(order[start : start + batch_size])
