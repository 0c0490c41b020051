"""The vision-language model: one text pass, then the answer under any action.

Drives the vision tower and the language model of Qwen3-VL and Qwen2.5-VL directly, with explicit
rotary positions in every call. The models' own forward keeps the offsets of an earlier call
(``rope_deltas``) and then places images wrongly without a word; explicit positions cannot go stale.
"""

from collections.abc import Sequence as Rows
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.vlm.decoding import GenerationState, next_tokens, pad_right, reasoning_of, row_generators
from vovnet.vlm.protocol import VLM, Answer, Batch, Decoding, Reading, join_batches
from vovnet.vlm.qwen import fixed
from vovnet.vlm.qwen.forward import Prefill, fork_cache, join_prefills, pad_left, read
from vovnet.vlm.qwen.generate import generate, generate_inputs
from vovnet.vlm.qwen.graphs import GraphDecoder
from vovnet.vlm.qwen.inputs import InputBuilder, Pixels
from vovnet.vlm.qwen.prompt import Sequence
from vovnet.vlm.qwen.vision import Encoded, encode


class Backbone(VLM):
    """Qwen3-VL or Qwen2.5-VL behind ``vovnet.vlm.protocol.VLM``.

    Args:
        model: ``Qwen3VLForConditionalGeneration`` or ``Qwen2_5_VLForConditionalGeneration``.
        builder: tokeniser, image processor and budget that make this model's batches.
        end_tokens: ids that end an answer.
        fingerprint: SHA-256 of weights and configuration, see ``loading``.
        cache_reuse: continue the text pass's cache in a vision pass where the order allows it.
        cuda_graphs: decode by replaying CUDA graphs where the device has them.
        batch_invariant: read and decode in fixed shapes, see ``fixed``.
    """

    implementation = "qwen"
    builder: InputBuilder

    def __init__(
        self,
        model: Any,
        builder: InputBuilder,
        end_tokens: tuple[int, ...],
        fingerprint: str,
        cache_reuse: bool,
        cuda_graphs: bool = False,
        batch_invariant: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.builder = builder
        self.end_tokens = end_tokens
        self.fingerprint = fingerprint
        self.batch_invariant = batch_invariant
        self.cache_reuse = cache_reuse and builder.format.order == "text_first"
        prompt_end = builder.tokenizer.decode(list(builder.format.tail), skip_special_tokens=False)
        self.reasoning, self.hidden_tokens = reasoning_of(builder.tokenizer, prompt_end)
        self.graphs = GraphDecoder(model, end_tokens, builder.end_token) if cuda_graphs else None

    @property
    def capabilities(self) -> frozenset[str]:
        """Everything."""
        return frozenset({"hidden", "logprobs", "nll", "reuse", "prune", "train", "batch"})

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.lm_head.weight.device  # to look for the first parameter takes a while
        return device

    @property
    def hidden_size(self) -> int:
        """Width D of the text pass's hidden state."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def _fixed(self) -> bool:
        """Whether passes have fixed shapes; those that gradients flow through have not."""
        return self.batch_invariant and not torch.is_grad_enabled()

    def _embeddings(self, ids: Tensor) -> Tensor:
        """Of tokens [B, L]; transformers' ``get_input_embeddings`` looks for the table in every call."""
        embeds: Tensor = self.model.model.language_model.embed_tokens(ids)
        return embeds

    def read(self, batch: Batch, action: Action, after: Prefill | None = None) -> Prefill:
        """Read prompts: without images under NO, with the images of ``action`` under the others."""
        if action is Action.NO:
            return self.text_pass(batch) if after is None else after
        return self.look(batch, action, after)

    def text_pass(self, batch: Batch) -> Prefill:
        """Read the prompts without images and without answers."""
        prompts = self.prompts(batch, None)
        if not self._fixed:
            return self._prefill(prompts, None, None)
        parts, order = list[Prefill](), list[int]()
        for columns, rows in fixed.groups([len(prompt.ids) for prompt in prompts]):
            read = self._prefill([prompts[row] for row in fixed.filled(rows)], None, None, columns)
            parts.append(read.rows(range(len(rows))))
            order += rows
        return join_prefills(parts).rows(np.argsort(order).tolist())

    def look(self, batch: Batch, action: Action, text: Prefill | None, images: Encoded | None = None) -> Prefill:
        """Read the prompts with their images under a visual action.

        With cache reuse, ``text`` must be the text pass of the same batch; its cache is continued
        after the question and stays usable. Without, the whole prompt is read in one pass.

        Args:
            images: the batch's images where they are encoded already.
        """
        pixels = batch.images[action]
        images = self.encode(pixels) if images is None else images
        sequences = self.prompts(batch, pixels, images)
        text = text if self.cache_reuse and any(prompt.shared for prompt in sequences) else None
        if self._fixed:
            tokens = [self.builder.read_tokens(pixels, row) for row in range(len(batch))]
            texts = [None] * len(batch) if text is None else fixed.one_by_one(text)
            each = zip(sequences, images.split(tokens), texts, strict=True)
            seen = join_prefills(
                [self._prefill([prompt], shown, before if prompt.shared else None) for prompt, shown, before in each]
            )
        else:
            seen = self._prefill(sequences, images, text)
        counts = [
            (
                self.builder.read_tokens(pixels, row),
                sum(time * height * width for time, height, width in pixels.grids(row)),
                0 if text is None else prompt.shared,
            )
            for row, prompt in enumerate(sequences)
        ]
        return replace(seen, counts=np.array(counts))

    def nll(self, prefill: Prefill, references: Rows[list[int]]) -> Tensor:
        """Mean negative log-likelihood of each reference, nats per token, float32 [B].

        Token t of the answer is scored by the logits at the position before it. ``prefill`` is
        left as it was.
        """
        if self._fixed:
            alone = zip(fixed.one_by_one(prefill), references, strict=True)
            return torch.cat([self._nll(one, [reference]) for one, reference in alone])
        return self._nll(prefill, references)

    def _nll(self, prefill: Prefill, references: Rows[list[int]]) -> Tensor:
        """The same in one pass."""
        answers, real = pad_right(references, self.builder.end_token, self.device)
        logits = prefill.logits[:, None]
        if answers.shape[1] > 1:
            length = prefill.mask.shape[1]
            steps = torch.arange(answers.shape[1] - 1, device=self.device)
            hidden = self._read(
                self._embeddings(answers[:, :-1]),
                torch.cat([prefill.mask, real[:, :-1].long()], dim=1),
                (prefill.next_position[:, None] + steps).expand(3, -1, -1),
                fork_cache(prefill.cache, length),
            )
            logits = torch.cat([logits, self.model.lm_head(hidden).float()], dim=1)
        return _mean_nll(logits, answers, real)

    def training_nll(self, batch: Batch, action: Action) -> Tensor:
        """The same quantity in a single pass over prompt and answer; for backbone training. [B]"""
        pixels = batch.images.get(action)
        images = None if pixels is None else self.encode(pixels)
        prompts = self.prompts(batch, pixels, images)
        answers, real = pad_right(batch.references, self.builder.end_token, self.device)
        count = answers.shape[1]
        padded = pad_left(prompts, [0] * len(prompts), self.builder.end_token, self.device)
        embeds, visual = self._embed(padded.ids, images)
        starts = torch.tensor([p.next_position for p in prompts], device=self.device)
        steps = torch.arange(count - 1, device=self.device)
        hidden = self._read(
            torch.cat([embeds, self._embeddings(answers[:, :-1])], dim=1),
            torch.cat([padded.mask, real[:, :-1].long()], dim=1),
            torch.cat([padded.positions, (starts[:, None] + steps).expand(3, -1, -1)], dim=2),
            None,
            *_with_answer_columns(visual, count - 1),
        )
        logits = self.model.lm_head(hidden[:, -count:]).float()
        return _mean_nll(logits, answers, real)

    def answer(self, readings: Rows[Reading], decoding: Decoding, seed: int = 0) -> list[list[Answer]]:
        """Answers that continue each reading, all decoded together.

        A decoding step reads every weight, for few samples as for many; one reading after another it would be paid for
        several times. Beam search and sampling, which depend on the action, go reading by reading.
        """
        if len(readings) == 1 or decoding.num_beams > 1 or decoding.do_sample:
            return [self.decode(r.state, decoding, r.batch, r.action, seed) for r in readings]
        everyone = join_batches([r.batch for r in readings])
        answers = iter(self.decode(join_prefills([r.state for r in readings]), decoding, everyone, Action.NO, seed))
        return [list(islice(answers, len(r.batch))) for r in readings]

    @torch.no_grad()
    def decode(self, prefill: Prefill, decoding: Decoding, batch: Batch, action: Action, seed: int = 0) -> list[Answer]:
        """Answers that continue a prefill; ``prefill`` is left as it was."""
        if decoding.num_beams > 1:
            return self._beam_search(batch, action, prefill, decoding)
        if not self.batch_invariant:
            return self._decode(prefill, decoding, batch, action, seed)
        found = dict[int, Answer]()
        for columns, rows in fixed.groups(fixed.spans(prefill)):
            places = fixed.filled(rows)
            part = fixed.last_columns(prefill.rows(places), columns)
            found |= zip(rows, self._decode(part, decoding, batch.select(places), action, seed), strict=False)
        return [found[row] for row in range(len(batch))]

    def _decode(self, prefill: Prefill, decoding: Decoding, batch: Batch, action: Action, seed: int) -> list[Answer]:
        """The same in one pass."""
        if self.graphs is not None and not decoding.do_sample and self.runs_graphs():
            ids, log_prob = self.graphs.decode(prefill, decoding.max_new_tokens)
        else:
            ids, log_prob = self.write(prefill, decoding, batch, action, seed)
        return self.answers(ids, log_prob.exp())

    def write(
        self, prefill: Prefill, decoding: Decoding, batch: Batch, action: Action, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Answers step by step: ids [B, T] up to the step at which all have ended, and their log-probability [B]."""
        cache = fork_cache(prefill.cache, prefill.mask.shape[1])
        logits, length = prefill.logits, prefill.mask.shape[1]
        # Of all steps at once: a step is a few dozen small calls, each of which counts where the model is small.
        mask = torch.cat([prefill.mask, prefill.mask.new_ones(len(batch), decoding.max_new_tokens)], dim=1)
        steps = torch.arange(decoding.max_new_tokens, device=self.device)
        positions = (prefill.next_position[:, None] + steps).expand(3, -1, -1)
        language = self.model.model.language_model
        generators = row_generators(batch.indices, action, seed) if decoding.do_sample else None
        draft = GenerationState(
            len(batch), decoding.max_new_tokens, self.end_tokens, self.builder.end_token, self.device
        )
        for step in range(decoding.max_new_tokens):
            draft.write(logits, next_tokens(logits, decoding, generators))
            if step + 1 == decoding.max_new_tokens or self._everywhere(draft.done.all()):
                break
            embeds = self._embeddings(draft.token[:, None])
            hidden = read(language, embeds, mask[:, : length + step + 1], positions[:, :, step : step + 1], cache)
            logits = self.model.lm_head(hidden[:, -1]).float()
        return draft.chosen[:, : step + 1], draft.log_prob

    def begin_training(self) -> None:
        """A graph would decode with the weights that it has recorded."""
        self.graphs = None

    def free_memory(self) -> None:
        """Drop the graphs' buffers."""
        if self.graphs is not None:
            self.graphs.release()

    def runs_graphs(self) -> bool:
        """Whether a decoding step can be replayed as a CUDA graph: nothing casts the weights or moves them."""
        return self.device.type == "cuda" and not (self.sharded or torch.is_autocast_enabled("cuda"))

    def _everywhere(self, finished: Tensor) -> bool:
        """Whether something is true on this rank, or on all that share the layers."""
        if self.sharded:
            finished = finished.int()
            torch.distributed.all_reduce(finished, torch.distributed.ReduceOp.MIN)
        return bool(finished)

    def encode(self, pixels: Pixels) -> Encoded:
        """The vision tower over a batch's images, thinned out as they say."""
        return encode(self.model.model.visual, pixels, one_by_one=self._fixed)

    def prompts(self, batch: Batch, pixels: Pixels | None, images: Encoded | None = None) -> list[Sequence]:
        """Prompts with their images, or the text pass's where there are none.

        Raises:
            VoVNetError: a prompt is longer than the model's context.
        """
        form = self.builder.format
        if pixels is None:
            prompts = [form.text_pass(question) for question in batch.questions]
        else:
            kept = None if images is None else images.kept
            around = pixels.around or ((),) * len(batch)
            prompts = [
                form.with_images(question, pixels.grids(row), None if kept is None else kept[row], around[row])
                for row, question in enumerate(batch.questions)
            ]
        for name, prompt in zip(batch.ids, prompts, strict=True):
            if self.builder.context is not None and len(prompt.ids) > self.builder.context:
                raise VoVNetError(
                    f"the prompt of sample {name} has {len(prompt.ids)} tokens, this backbone reads "
                    f"{self.builder.context}; lower vision_budget, or leave the row out."
                )
        return prompts

    def _prefill(
        self, sequences: list[Sequence], images: Encoded | None, text: Prefill | None, columns: int | None = None
    ) -> Prefill:
        """Read prompts, from the start or after what they share with a text pass; in as many columns as are asked for,
        or as they need."""
        begins = [s.shared if text is not None else 0 for s in sequences]
        padded = pad_left(sequences, begins, self.builder.end_token, self.device, columns)
        mask, cache = padded.mask, DynamicCache()
        if text is not None:
            shared = text.mask.shape[1] - len(self.builder.format.tail)
            cache = fork_cache(text.cache, shared)
            before = text.mask[:, :shared]
            if 0 in begins:  # a row that shares nothing reads none of it
                before = before * torch.tensor([[int(begin > 0)] for begin in begins], device=self.device)
            mask = torch.cat([before, mask], dim=1)
        embeds, visual = self._embed(padded.ids, images)
        hidden = self._read(embeds, mask, padded.positions, cache, *visual)[:, -1]
        return Prefill(
            hidden=hidden,
            logits=self.model.lm_head(hidden).float(),
            cache=cache,
            mask=mask,
            next_position=torch.tensor([s.next_position for s in sequences], device=self.device),
        )

    def _embed(self, ids: Tensor, images: Encoded | None) -> tuple[Tensor, tuple[Any, Any]]:
        """Token embeddings with image features in place, and what DeepStack adds at those places."""
        embeds = self._embeddings(ids)
        if images is None:
            return embeds, (None, None)
        features, deepstack = images.features, images.deepstack
        places = ids == self.builder.format.image_pad  # padding is another token
        if int(places.sum()) != len(features):
            raise RuntimeError(f"{int(places.sum())} image tokens for {len(features)} image features")
        embeds = embeds.masked_scatter(places[..., None], features.to(embeds.dtype))
        return embeds, (places, deepstack or None)

    def _read(
        self,
        embeds: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: Any,
        places: Tensor | None = None,
        deepstack: list[Tensor] | None = None,
    ) -> Tensor:
        """Language model over new columns; hidden states [B, new, D]. ``cache`` grows in place."""
        language = self.model.model.language_model
        return read(language, embeds, mask, positions, cache, places, deepstack)

    def _beam_search(self, batch: Batch, action: Action, prefill: Prefill, decoding: Decoding) -> list[Answer]:
        """Beam search by transformers, over the whole prompt in one pass.

        Raises:
            VoVNetError: vision tokens are pruned, which transformers' generate cannot do.
        """
        pixels = batch.images.get(action)
        if pixels is not None and pixels.pruning is not None:
            raise VoVNetError("beam search cannot prune vision tokens; set eval.num_beams=1.")
        inputs = generate_inputs(self.builder, self.prompts(batch, pixels), pixels, self.device)
        ids = generate(self.model, inputs, decoding, self.end_tokens, self.builder.end_token)
        generated = [self.until_end(row) for row in ids.tolist()]
        lengths = torch.tensor([len(g) for g in generated], device=self.device)
        nll = self.nll(prefill, generated)
        return self.answers(ids, torch.exp(-nll * lengths))


def _mean_nll(logits: Tensor, answers: Tensor, real: Tensor) -> Tensor:
    """Mean over real tokens of -log p(answer), [B]; logits [B, T, V] stand one position before their token."""
    token_nll = nn.functional.cross_entropy(logits.transpose(1, 2), answers, reduction="none")
    return (token_nll * real).sum(1) / real.sum(1)


def _with_answer_columns(visual: tuple[Any, Any], columns: int) -> tuple[Any, Any]:
    """Widen the mask of image places by answer columns, which hold no image."""
    places, deepstack = visual
    return (None if places is None else nn.functional.pad(places, (0, columns))), deepstack
