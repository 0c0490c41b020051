"""The forward passes of a collection and of a routed answer and nothing else, as one would write them in a notebook.

Of a backbone they use the model, and of what it makes of a batch only the prompts; on the packaged backbone the model
is transformers' own (``embedded``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.vlm.decoding import pad_right
from vovnet.vlm.protocol import Batch
from vovnet.vlm.qwen.forward import Padded, cache_of, fork_cache, gather, pad_left
from vovnet.vlm.qwen.model import Backbone


@dataclass(frozen=True)
class Seen:
    """Images of a batch, and the rest of its prompts.

    Attributes:
        patches, grids: of the distinct images.
        order: which of their tokens the prompts show, one after another.
        rest: the tokens after the question.
    """

    patches: Tensor
    grids: Tensor
    order: Tensor
    rest: Padded


@dataclass(frozen=True)
class Ready:
    """A batch whose tensors lie on the device already.

    Attributes:
        text: the prompts without images; ``columns``: how many of their tokens an image pass continues.
        seen: per visual action.
        answers: reference ids [B, T].
    """

    text: Padded
    columns: int
    seen: dict[Action, Seen]
    answers: Tensor


@dataclass(frozen=True)
class Prompt:
    """A prompt that has been read: logits [B, 1, V], cache, mask [B, L], position of the next token [B]."""

    logits: Tensor
    cache: DynamicCache
    mask: Tensor
    start: Tensor

    def rows(self, rows: Tensor) -> "Prompt":
        """Some of its samples."""
        return Prompt(self.logits[rows], cache_of(gather(self.cache, rows)), self.mask[rows], self.start[rows])


@dataclass(frozen=True)
class BareLoop:
    """Text pass, three branches, their decoding and their references' likelihood, for some batches."""

    backbone: Backbone
    batches: list[Ready]
    decoded: int  # tokens of an answer at most

    @classmethod
    def of(cls, backbone: Backbone, batches: Sequence[Batch], decoded: int) -> "BareLoop":
        """Prepare everything that is no forward pass."""
        return cls(backbone, [make_ready(backbone, batch) for batch in batches], decoded)

    @torch.inference_mode()
    def __call__(self) -> list[dict[Action, Tensor]]:
        """Run them all; likelihoods and answers go to the host once a batch. Returns answers [B, T] per action."""
        return [self._batch(ready) for ready in self.batches]

    def _batch(self, ready: Ready) -> dict[Action, Tensor]:
        bare = Bare(self.backbone, self.decoded)
        text, answers = bare.text(ready), {}
        for action in (Action.NO, *ready.seen):
            prompt = text if action is Action.NO else bare.look(ready, action, text)
            nll = bare.likelihood(prompt, ready.answers)
            answers[action] = bare.decode(prompt).cpu()
            nll.cpu()
        return answers


@dataclass(frozen=True)
class BareRoute:
    """Text pass of a batch, then each sample's chosen branch: groups of one action one after another."""

    backbone: Backbone
    text: Ready
    groups: list[tuple[Action, Tensor, Ready]]  # action, which rows chose it, and these rows
    decoded: int

    @classmethod
    def of(
        cls, backbone: Backbone, batch: Batch, parts: Sequence[tuple[Action, list[int], Batch]], decoded: int
    ) -> "BareRoute":
        """Prepare everything that is no forward pass."""
        groups = [
            (action, torch.tensor(rows, device=backbone.device), make_ready(backbone, part))
            for action, rows, part in parts
        ]
        return cls(backbone, make_ready(backbone, batch), groups, decoded)

    @torch.inference_mode()
    def __call__(self) -> dict[Action, Tensor]:
        """Answers [B, T] per action, on the host."""
        bare = Bare(self.backbone, self.decoded)
        text, answers = bare.text(self.text), {}
        for action, rows, ready in self.groups:
            own = text if len(rows) == len(text.mask) else text.rows(rows)
            answers[action] = bare.decode(own if action is Action.NO else bare.look(ready, action, own)).cpu()
        return answers


@dataclass(frozen=True)
class Bare:
    """The passes themselves."""

    backbone: Backbone
    decoded: int

    def text(self, ready: Ready) -> Prompt:
        """Prompts without images."""
        cache = DynamicCache()
        return self._read(ready.text, ready.text.mask, self._embed(ready.text.ids), cache)

    def look(self, ready: Ready, action: Action, text: Prompt) -> Prompt:
        """Images and what stands after them, behind the questions that ``text`` has read."""
        seen, model = ready.seen[action], self.backbone.model
        out = model.model.visual(seen.patches, grid_thw=seen.grids, return_dict=True)
        places = seen.rest.ids == self.backbone.builder.format.image_pad
        features = out.pooler_output.index_select(0, seen.order)
        levels = [level.index_select(0, seen.order) for level in out.deepstack_features]
        embeds = self._embed(seen.rest.ids).masked_scatter(places[..., None], features)
        mask = torch.cat([text.mask[:, : ready.columns], seen.rest.mask], dim=1)
        return self._read(seen.rest, mask, embeds, fork_cache(text.cache, ready.columns), places, levels)

    def likelihood(self, prompt: Prompt, answers: Tensor) -> Tensor:
        """Of reference answers [B, T], in nats."""
        steps = torch.arange(answers.shape[1] - 1, device=answers.device)
        mask = torch.cat([prompt.mask, prompt.mask.new_ones(len(answers), len(steps))], dim=1)
        at = (prompt.start[:, None] + steps).expand(3, -1, -1)
        cache = fork_cache(prompt.cache, prompt.mask.shape[1])
        hidden = self._hidden(self._embed(answers[:, :-1]), mask, at, cache)
        logits = torch.cat([prompt.logits, self.backbone.model.lm_head(hidden).float()], dim=1)
        return torch.nn.functional.cross_entropy(logits.transpose(1, 2), answers, reduction="none")

    def decode(self, prompt: Prompt) -> Tensor:
        """Greedy answers [B, T], until all have ended."""
        logits, mask, cache = prompt.logits, prompt.mask, fork_cache(prompt.cache, prompt.mask.shape[1])
        ends, tokens = torch.tensor(self.backbone.end_tokens, device=mask.device), list[Tensor]()
        done = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
        for step in range(self.decoded):
            tokens.append(logits[:, -1].argmax(-1))
            done |= torch.isin(tokens[-1], ends)
            if step + 1 == self.decoded or bool(done.all()):
                break
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            at = (prompt.start + step)[None, :, None].expand(3, -1, -1)
            hidden = self._hidden(self._embed(tokens[-1][:, None]), mask, at, cache)
            logits = self.backbone.model.lm_head(hidden).float()
        return torch.stack(tokens, dim=1)

    def _embed(self, ids: Tensor) -> Tensor:
        embeds: Tensor = self.backbone.model.get_input_embeddings()(ids)
        return embeds

    def _read(
        self,
        new: Padded,
        mask: Tensor,
        embeds: Tensor,
        cache: DynamicCache,
        places: Tensor | None = None,
        levels: list[Tensor] | None = None,
    ) -> Prompt:
        images = {} if levels is None else {"visual_pos_masks": places, "deepstack_visual_embeds": levels}
        hidden = self._hidden(embeds, mask, new.positions, cache, **images)
        logits = self.backbone.model.lm_head(hidden[:, -1:]).float()
        return Prompt(logits, cache, mask, new.positions.amax((0, 2)) + 1)

    def _hidden(self, embeds: Tensor, mask: Tensor, at: Tensor, cache: DynamicCache, **images: Any) -> Tensor:
        out = self.backbone.model.model.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=at, past_key_values=cache, use_cache=True, **images
        )
        hidden: Tensor = out.last_hidden_state
        return hidden


def make_ready(backbone: Backbone, batch: Batch) -> Ready:
    """A batch's tensors, on the device; for the visual actions that it has images for."""
    builder, device = backbone.builder, backbone.device
    form, pad = builder.format, builder.end_token
    texts = [form.text_pass(question) for question in batch.questions]
    seen = {}
    for action in [a for a in VISUAL_ACTIONS if a in batch.images]:
        pixels = batch.images[action]
        whole = [form.with_images(question, pixels.grids(row)) for row, question in enumerate(batch.questions)]
        patches = pixels.patches(device, backbone.model.dtype)
        grids = torch.tensor(pixels.shapes)
        tokens = torch.split(
            torch.arange(len(patches) // form.merge_size**2), (grids.prod(1) // form.merge_size**2).tolist()
        )
        order = torch.cat([tokens[image] for row in pixels.rows for image in row]).to(device)
        seen[action] = Seen(patches, grids.to(device), order, pad_left(whole, [s.shared for s in whole], pad, device))
    text = pad_left(texts, [0] * len(texts), pad, device)
    answers, _ = pad_right(batch.references, pad, device)
    return Ready(text, text.ids.shape[1] - len(form.tail), seen, answers)
