"""Runs the branches of one batch. Collection, live evaluation and live training share this code."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.judge import Judge, judged
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, ModelOutcomes, TextOutcomes
from vovnet.vlm.decoding import Answer, Decoding
from vovnet.vlm.qwen.forward import Prefill, distribution_stats, join_prefills
from vovnet.vlm.qwen.inputs import Batch, join_batches
from vovnet.vlm.qwen.model import Backbone


@dataclass(frozen=True)
class TextState:
    """A text pass as tensors: the prefill and the features read off it."""

    prefill: Prefill
    entropy: Tensor
    margin: Tensor


def read_text(backbone: Backbone, batch: Batch) -> TextState:
    """The text pass of a batch. Entropy and margin are read at the last real token."""
    prefill = backbone.text_pass(batch)
    entropy, margin = distribution_stats(prefill.logits)
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
        text_tokens=state.prefill.mask.sum(1).cpu().numpy().astype(np.int32),
    )


def run_branch(
    backbone: Backbone,
    batch: Batch,
    action: Action,
    text: Prefill | None,
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
    state = _read_prompt(backbone, batch, action, text)
    answers = backbone.decode(state, decoding, batch, action, seed)
    seconds = time.perf_counter() - begun
    reused = _reused_tokens(backbone, batch, action, state, text is not None)
    outcomes = _branch_outcomes(backbone, batch, action, state, answers, reused, seconds / len(batch))
    if with_nll:
        nll = backbone.answer_nll(state, batch.references)
        check_finite({"answer NLL": nll}, batch)
        outcomes = replace(outcomes, nll=nll.detach().cpu().numpy())
    if with_hidden:
        hidden = state.hidden.detach().to(backbone.feature_dtype).cpu()
        check_finite({"hidden": hidden}, batch)
        outcomes = replace(outcomes, hidden=BlockRows([hidden.numpy()]))
    return outcomes


@dataclass(frozen=True)
class Group:
    """Samples that chose one action, their images, and their text pass where there was one."""

    batch: Batch
    action: Action
    text: Prefill | None


def run_groups(
    backbone: Backbone, groups: Sequence[Group], decoding: Decoding, judge: Judge, seed: int
) -> list[BranchOutcomes]:
    """Answer and judge groups of different actions: each prompt is read under its action, all are decoded together.

    A decoding step reads every weight, for few samples as for many; group by group it would be paid for several
    times. Beam search and sampling, which depend on the action, go group by group. No NLL is measured.
    """
    if decoding.num_beams > 1 or decoding.do_sample:
        alone = [run_branch(backbone, g.batch, g.action, g.text, decoding, seed, with_nll=False) for g in groups]
        return [judged(one, group.batch.indices, judge) for one, group in zip(alone, groups, strict=True)]
    begun = time.perf_counter()
    states = [_read_prompt(backbone, group.batch, group.action, group.text) for group in groups]
    everyone = join_batches([group.batch for group in groups])
    answers = iter(backbone.decode(join_prefills(states), decoding, everyone, Action.NO, seed))
    seconds = (time.perf_counter() - begun) / len(everyone)
    found = []
    for group, state in zip(groups, states, strict=True):
        own = list(islice(answers, len(group.batch)))
        reused = _reused_tokens(backbone, group.batch, group.action, state, group.text is not None)
        one = _branch_outcomes(backbone, group.batch, group.action, state, own, reused, seconds)
        found.append(judged(one, group.batch.indices, judge))
    return found


def _read_prompt(backbone: Backbone, batch: Batch, action: Action, text: Prefill | None) -> Prefill:
    """The prompt under an action, after the text pass where there was one."""
    if action is not Action.NO:
        return backbone.look(batch, action, text)
    return backbone.text_pass(batch) if text is None else text


def _branch_outcomes(
    backbone: Backbone,
    batch: Batch,
    action: Action,
    state: Prefill,
    answers: Sequence[Answer],
    reused: np.ndarray,
    seconds: float,
) -> ModelOutcomes:
    size = len(batch)
    # Logits that are NaN or infinite anywhere along an answer leave no probability of it.
    confidence = torch.tensor([answer.confidence for answer in answers])
    check_finite({f"probability of the {action.label.upper()} answer (its logits)": confidence}, batch)
    patches = tokens = np.zeros(size, dtype=np.int64)
    if action is not Action.NO:
        pixels = batch.pixels[action]
        patches = np.array([sum(t * h * w for t, h, w in pixels.grids(row)) for row in range(size)])
        tokens = np.array([backbone.builder.read_tokens(pixels, row) for row in range(size)])
    return ModelOutcomes(
        prediction=np.array([answer.text for answer in answers], dtype=object),
        answer=np.array([answer.final for answer in answers], dtype=object),
        confidence=confidence.numpy(),
        vision_tokens=tokens.astype(np.int32),
        prompt_tokens=state.mask.sum(1).cpu().numpy().astype(np.int32),
        reused_tokens=reused.astype(np.int32),
        patches=patches.astype(np.int32),
        generated_tokens=np.array([answer.tokens for answer in answers], dtype=np.int32),
        seconds=np.full(size, seconds, dtype=np.float32),
    )


def _reused_tokens(backbone: Backbone, batch: Batch, action: Action, state: Prefill, after_text: bool) -> np.ndarray:
    """Prompt tokens whose keys and values came from the text pass, [B]."""
    if after_text and action is Action.NO:
        return state.mask.sum(1).cpu().numpy()
    if after_text and backbone.cache_reuse:
        head = len(backbone.builder.format.head)
        return np.array([head + len(question) for question in batch.questions])
    return np.zeros(len(batch), dtype=np.int64)


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
