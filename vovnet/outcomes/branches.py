"""Running the branches of one batch: the only place where the backbone works for its living.

Collection, live evaluation and live training all come through here, so that they cannot differ.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.backbone.backbone import Backbone
from vovnet.backbone.decoding import Answer, Decoding
from vovnet.backbone.forward import Prefill, distribution_stats, join_prefills
from vovnet.backbone.inputs import Batch, join_batches
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import BlockRows, BranchOutcomes, TextOutcomes
from vovnet.scoring import SCORERS, Score

Judge = Callable[[int, str | None], Score]  # sample index, and ``Answer.final``


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
    judge: Judge,
    seed: int,
    with_nll: bool,
) -> BranchOutcomes:
    """Answer a batch under one action and judge the answers.

    Without a text pass the whole prompt is read at once and nothing is reused. The reference's NLL
    is for training; without ``with_nll`` that column is NaN and costs nothing.
    """
    begun = time.perf_counter()
    state = _read_prompt(backbone, batch, action, text)
    answers = backbone.decode(state, decoding, batch, action, seed)
    seconds = time.perf_counter() - begun
    nll = torch.full((len(batch),), torch.nan)
    if with_nll:
        nll = backbone.answer_nll(state, batch.references)
        check_finite({"answer NLL": nll}, batch)
    reused = _reused_tokens(backbone, batch, action, state, text is not None)
    return _branch_outcomes(backbone, batch, action, state, answers, nll, judge, reused, seconds / len(batch))


@dataclass(frozen=True)
class Group:
    """Samples that chose one action, their images, and their text pass where there was one."""

    batch: Batch
    action: Action
    text: Prefill | None


def run_groups(
    backbone: Backbone, groups: Sequence[Group], decoding: Decoding, judge: Judge, seed: int
) -> list[BranchOutcomes]:
    """Answer groups of different actions: each prompt is read under its action, then all are decoded together.

    A decoding step reads every weight, for few samples as for many; group by group it would be paid for several
    times. Beam search and sampling, which depend on the action, go group by group. The reference's NLL is NaN.
    """
    if decoding.num_beams > 1 or decoding.do_sample:
        return [run_branch(backbone, g.batch, g.action, g.text, decoding, judge, seed, with_nll=False) for g in groups]
    begun = time.perf_counter()
    states = [_read_prompt(backbone, group.batch, group.action, group.text) for group in groups]
    everyone = join_batches([group.batch for group in groups])
    answers = iter(backbone.decode(join_prefills(states), decoding, everyone, Action.NO, seed))
    seconds = (time.perf_counter() - begun) / len(everyone)
    found = []
    for group, state in zip(groups, states, strict=True):
        own, nll = list(islice(answers, len(group.batch))), torch.full((len(group.batch),), torch.nan)
        reused = _reused_tokens(backbone, group.batch, group.action, state, group.text is not None)
        found.append(_branch_outcomes(backbone, group.batch, group.action, state, own, nll, judge, reused, seconds))
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
    nll: Tensor,
    judge: Judge,
    reused: np.ndarray,
    seconds: float,
) -> BranchOutcomes:
    size = len(batch)
    # Logits that are NaN or infinite anywhere along an answer leave no probability of it.
    confidence = torch.tensor([answer.confidence for answer in answers])
    check_finite({f"probability of the {action.label.upper()} answer (its logits)": confidence}, batch)
    judged = [judge(index, answer.final) for index, answer in zip(batch.indices, answers, strict=True)]
    patches = tokens = np.zeros(size, dtype=np.int64)
    if action is not Action.NO:
        pixels = batch.pixels[action]
        patches = np.array([sum(t * h * w for t, h, w in pixels.grids(row)) for row in range(size)])
        tokens = np.array([backbone.builder.read_tokens(pixels, row) for row in range(size)])
    return BranchOutcomes(
        prediction=np.array([answer.text for answer in answers], dtype=object),
        score=np.array([score.value for score in judged], dtype=np.float64),
        parsed=np.array([score.parsed for score in judged], dtype=bool),
        refused=np.array([score.refused for score in judged], dtype=bool),
        nll=nll.detach().cpu().numpy(),
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


def make_judge(dataset: VQADataset) -> Judge:
    """The data set's scoring rule by sample index: the only place where references meet answers."""

    def judge(index: int, answer: str | None) -> Score:
        return SCORERS[dataset.member(index).scorer](answer, dataset[index])

    return judge


def batch_rows(order: Sequence[int], batch_size: int) -> Iterable[list[int]]:
    """Cut an order of samples into batches."""
    for start in range(0, len(order), batch_size):
        yield list(order[start : start + batch_size])
