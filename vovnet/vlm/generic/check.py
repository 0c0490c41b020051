"""What a model does exactly, found by asking the model itself once it is loaded.

Caches that cannot be continued, padding that changes what is read and token types that let a prompt read its answer
give no error in transformers: they change logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.vlm.agreement import FAULTS, ROUNDING, difference, noise_items
from vovnet.vlm.decoding import pad_right
from vovnet.vlm.generic.prompts import Prompt
from vovnet.vlm.generic.state import GenericState, join_parts, joins
from vovnet.vlm.tokens import encode_user_texts

if TYPE_CHECKING:
    from vovnet.vlm.generic.model import Exact, GenericVLM

REFERENCE = "yes 1"
VERSION = 2  # rises when the check or what it compares changes


@torch.no_grad()
def check(vlm: "GenericVLM") -> "Exact":
    """Compare every shortcut with reading whole prompts one by one, on two questions with an image each."""
    from vovnet.vlm.generic.model import Exact

    prompts, texts = _prompts(vlm)
    seen: dict[str, float] = {}
    limit = ROUNDING[vlm.model.dtype]

    def holds(name: str, exact: Exact, logits: Callable[[], Tensor], truth: Tensor) -> bool:
        vlm.exact = exact
        try:
            seen[name] = difference(logits(), truth)
        except (*FAULTS, AssertionError):
            seen[name] = float("inf")  # the family refuses it: the same as inexact
        return seen[name] < limit

    alone = Exact(batch=False, reuse=False, gap=False, resume=False, join=False, answer_type=None)
    vlm.exact = alone
    whole = GenericState(tuple(vlm.read_rows(prompts, [row]) for row in range(len(prompts))))
    truth = whole.logits
    reference = [[*encode_user_texts(vlm.builder.tokenizer, [REFERENCE])[0], vlm.end_tokens[0]]] * len(prompts)
    ids, real = pad_right(reference, vlm.end_tokens[0], vlm.device)
    written = torch.cat([vlm.written(part, ids[:1]) for part in whole.parts])

    def together() -> Tensor:
        return vlm.read_rows(prompts, range(len(prompts))).logits

    batch = holds("batch", replace(alone, batch=True), together, truth)

    def resumed() -> Tensor:
        state = GenericState(tuple(vlm.read_rows(prompts, [row]) for row in range(len(prompts))))
        return torch.cat([vlm.resumed(part, ids[:1], real[:1]) for part in state.parts])

    resume = holds("resume", replace(alone, resume=True), resumed, written)

    def joined() -> Tensor:
        each = [vlm.read_rows(prompts, [row]) for row in range(len(prompts))] + [vlm.read_rows(texts, [0])]
        assert all(map(joins, each))
        part = join_parts(each, vlm.model.config)
        many = len(part.rows), -1
        return vlm.resumed(part, ids[:1].expand(many), real[:1].expand(many))

    def without_image() -> Tensor:
        return torch.cat([written, vlm.written(vlm.read_rows(texts, [0]), ids[:1])])

    join = batch and resume and holds("join", replace(alone, resume=True, join=True), joined, without_image())
    types = [
        t
        for t in (0, 1)
        if holds(
            f"one_pass_{t}",
            replace(alone, answer_type=t),
            lambda: torch.cat([vlm.one_pass([p], ids[:1], real[:1]) for p in prompts]),
            written,
        )
    ]
    found = replace(alone, batch=batch, resume=resume, join=join, answer_type=types[0] if types else None)
    if vlm.builder.shares_text:

        def after_text(rows: Sequence[Sequence[int]]) -> Callable[[], Tensor]:
            def read() -> Tensor:
                done = []
                for own in rows:
                    text = vlm.read_rows(texts, own, begin=True)
                    vlm.read_rows(prompts, own)  # another call in between, which may leave something behind
                    done += vlm.continued(prompts, text)
                return GenericState(tuple(done)).logits

            return read

        each = [[row] for row in range(len(prompts))]
        reuse = holds("reuse", replace(found, reuse=True), after_text(each), truth)
        everyone = [list(range(len(prompts)))]
        gap = (
            reuse
            and batch
            and _only_full_attention(vlm.model.config)
            and holds("gap", replace(found, reuse=True, gap=True), after_text(everyone), truth)
        )
        split = reuse and (gap or not batch or holds("split", replace(found, reuse=True), after_text(everyone), truth))
        found = replace(found, reuse=reuse and split, gap=gap)
    return replace(found, differences=tuple(seen.items()))


def _only_full_attention(config: object) -> bool:
    """Whether padding inside a prompt is masked in every layer: windows, convolutions and recurrences count columns."""
    text = config.get_text_config()  # type: ignore[attr-defined]
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return kinds <= {"full_attention"}


def _prompts(vlm: "GenericVLM") -> tuple[list[Prompt], list[Prompt]]:
    """Prompts about noise in its own size with COARSE's options, and without it."""
    builder, prompter = vlm.builder, vlm.builder.prompter
    shown, alone = [], []
    for _, sample, question in noise_items():
        ids = encode_user_texts(builder.tokenizer, [question])[0]
        images = [reference.load() for reference in sample.images]
        shown.append(prompter.prompt(question, ids, images, builder.budget.keys(Action.COARSE)))
        alone.append(builder.alone(question, ids))
    return shown, alone
