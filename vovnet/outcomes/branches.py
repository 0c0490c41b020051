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
from vovnet.outcomes.rows import BlockRows, LookState, ModelOutcomes, TextOutcomes
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
    return TextState(prefill, *_stats(vlm, prefill))


def _stats(vlm: VLM, state: State) -> tuple[Tensor, Tensor]:
    """Entropy and margin of the next token, [B] each."""
    # How many rows there are decides how a GPU sums up each of them.
    rows = torch.split(state.logits, 1) if vlm.batch_invariant else [state.logits]
    entropy, margin = (torch.cat(parts) for parts in zip(*map(distribution_stats, rows), strict=True))
    return entropy, margin


def text_outcomes(state: TextState, batch: Batch, dtype: torch.dtype) -> TextOutcomes:
    """Features of a batch as stored.

    Raises:
        VoVNetError: a feature is NaN or infinite.
    """
    read = _look_state(state.prefill, state.entropy, state.margin, batch, dtype)
    return TextOutcomes(read.hidden, read.entropy, read.margin, state.prefill.prompt_tokens.astype(np.int32))


def look_state(vlm: VLM, state: State, batch: Batch) -> LookState:
    """What a look's prefill yields for a policy, as stored.

    Raises:
        VoVNetError: a feature is NaN or infinite.
    """
    return _look_state(state, *_stats(vlm, state), batch, vlm.feature_dtype)


def _look_state(state: State, entropy: Tensor, margin: Tensor, batch: Batch, dtype: torch.dtype) -> LookState:
    hidden = state.hidden.detach().to(dtype).cpu()
    entropy, margin = entropy.detach().cpu(), margin.detach().cpu()
    check_finite({"hidden": hidden, "entropy": entropy, "margin": margin}, batch)
    return LookState(BlockRows([hidden.numpy()]), entropy.numpy(), margin.numpy())


@dataclass(frozen=True)
class Group:
    """Samples that are read under one action, their images, and their text pass where there was one.

    Without a text pass the whole prompt is read at once and nothing is reused.

    Attributes:
        with_nll: measure the references' NLL, which costs a pass over them.
        with_state: keep what the prefill yields for a policy.
    """

    batch: Batch
    action: Action
    text: State | None
    with_nll: bool = False
    with_state: bool = False


def run_groups(vlm: VLM, groups: Sequence[Group], decoding: Decoding, seed: int) -> list[ModelOutcomes]:
    """Answer groups of different actions: each is read under its action, and all are decoded together."""
    begun = time.perf_counter()
    readings = [Reading(g.batch, g.action, vlm.read(g.batch, g.action, g.text)) for g in groups]
    answers = vlm.answer(readings, decoding, seed)
    seconds = (time.perf_counter() - begun) / sum(len(group.batch) for group in groups)
    found = []
    for reading, said, group in zip(readings, answers, groups, strict=True):
        outcomes = _branch_outcomes(vlm, reading, said, group.text, seconds)
        found.append(replace(outcomes, **_beside_answers(vlm, group, reading.state)))
    return found


def read_group(vlm: VLM, group: Group) -> dict[str, Any]:
    """Columns of ``ModelOutcomes`` beside the answers, where these are known already."""
    return _beside_answers(vlm, group, vlm.read(group.batch, group.action, group.text))


def _beside_answers(vlm: VLM, group: Group, state: State) -> dict[str, Any]:
    """The references' NLL, and what a policy reads of the look."""
    found: dict[str, Any] = {}
    if group.with_nll:
        nll = vlm.nll(state, group.batch.references)
        check_finite({"answer NLL": nll}, group.batch)
        found["nll"] = nll.detach().cpu().numpy()
    return found | (vars(look_state(vlm, state, group.batch)) if group.with_state else {})


def _branch_outcomes(
    vlm: VLM, reading: Reading, answers: Sequence[Answer], text: State | None, seconds: float
) -> ModelOutcomes:
    state, size = reading.state, len(reading.batch)
    # Logits that are NaN or infinite anywhere along an answer leave no probability of it.
    confidence = torch.tensor([answer.confidence for answer in answers])
    if "logprobs" in vlm.capabilities:  # NaN, where there are none
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
