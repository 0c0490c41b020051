"""The forward passes of a collection and nothing else, as one would write them in a notebook."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.backbone.backbone import Backbone
from vovnet.backbone.forward import Padded, fork_cache, pad_left, pad_right
from vovnet.backbone.inputs import Batch
from vovnet.benchmark.workload import Bench, Synthetic


@dataclass(frozen=True)
class Ready:
    """A batch whose tensors lie on the device already.

    Attributes:
        text: the prompts without images; ``columns``: how many of their tokens an image pass continues.
        seen: per action, patches, grids and the tokens after the question.
        answers: reference ids [B, T].
    """

    text: Padded
    columns: int
    seen: dict[Action, tuple[Tensor, Tensor, Padded]]
    answers: Tensor


@dataclass(frozen=True)
class BareLoop:
    """Text pass, three branches, their decoding and their references' likelihood, for some batches."""

    backbone: Backbone
    batches: list[Ready]
    decoded: int

    @classmethod
    def of(cls, bench: Bench, data: Synthetic, size: int, decoded: int) -> Callable[[], None]:
        """Prepare everything that is no forward pass."""
        items, builder = data.items(), bench.backbone.builder
        batches = [builder.build(items[start : start + size], VISUAL_ACTIONS) for start in range(0, len(items), size)]
        return cls(bench.backbone, [_ready(bench.backbone, batch) for batch in batches], decoded)

    @torch.inference_mode()
    def __call__(self) -> None:
        """Run them all; likelihoods and answers go to the host once a batch."""
        for ready in self.batches:
            for result in self._batch(ready):
                result.cpu()

    def _batch(self, ready: Ready) -> list[Tensor]:
        model, results = self.backbone.model, []
        embed = model.get_input_embeddings()
        text = DynamicCache()
        hidden = self.backbone._read(embed(ready.text.ids), ready.text.mask, ready.text.positions, text)
        results += self._answer(hidden, ready.text.mask, ready.text.positions, fork_cache(text, hidden.shape[1]), ready)
        for patches, grids, rest in ready.seen.values():
            out = model.model.visual(patches, grid_thw=grids, return_dict=True)
            places = rest.ids == self.backbone.builder.format.image_pad
            embeds = embed(rest.ids).masked_scatter(places[..., None], out.pooler_output)
            mask = torch.cat([ready.text.mask[:, : ready.columns], rest.mask], dim=1)
            cache = fork_cache(text, ready.columns)
            hidden = self.backbone._read(embeds, mask, rest.positions, cache, places, out.deepstack_features)
            results += self._answer(hidden, mask, rest.positions, cache, ready)
        return results

    def _answer(self, hidden: Tensor, mask: Tensor, positions: Tensor, cache: object, ready: Ready) -> list[Tensor]:
        """The reference's likelihood and a greedy answer."""
        model, read = self.backbone.model, self.backbone._read
        embed, start, prompt = model.get_input_embeddings(), positions.amax((0, 2)) + 1, mask
        logits = model.lm_head(hidden[:, -1:]).float()
        steps = torch.arange(ready.answers.shape[1] - 1, device=mask.device)
        longer = torch.cat([mask, mask.new_ones(len(mask), len(steps))], dim=1)
        at = (start[:, None] + steps).expand(3, -1, -1)
        scored = read(embed(ready.answers[:, :-1]), longer, at, fork_cache(cache, mask.shape[1]))
        scored = torch.cat([logits, model.lm_head(scored).float()], dim=1)
        nll = torch.nn.functional.cross_entropy(scored.transpose(1, 2), ready.answers, reduction="none")
        tokens = []
        for step in range(self.decoded):
            tokens.append(logits[:, -1].argmax(-1))
            if step + 1 < self.decoded:
                prompt = torch.cat([prompt, prompt.new_ones(len(prompt), 1)], dim=1)
                at = (start + step)[None, :, None].expand(3, -1, -1)
                logits = model.lm_head(read(embed(tokens[-1][:, None]), prompt, at, cache)).float()
        return [nll, torch.stack(tokens, dim=1)]


def _ready(backbone: Backbone, batch: Batch) -> Ready:
    builder, device = backbone.builder, backbone.device
    form, pad = builder.format, builder.end_token
    texts = [form.text_pass(question) for question in batch.questions]
    seen = {}
    for action in VISUAL_ACTIONS:
        pixels = batch.pixels[action]
        whole = [form.with_images(question, pixels.grids(row)) for row, question in enumerate(batch.questions)]
        patches = torch.cat([image for image, _ in pixels.images]).to(device, backbone.model.dtype)
        grids = torch.tensor([grid for _, grid in pixels.images], device=device)
        seen[action] = patches, grids, pad_left(whole, [s.shared for s in whole], pad, device)
    text = pad_left(texts, [0] * len(texts), pad, device)
    answers, _ = pad_right(batch.references, pad, device)
    return Ready(text, text.ids.shape[1] - len(form.tail), seen, answers)
