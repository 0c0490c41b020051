"""Any image-text model: one text pass, then the answer under any action, by ``generate`` and ``forward``.

``generate`` alone gets positions, masks and token types of a continued cache right in every family, so it makes every
pass; ``forward`` makes those through which gradients flow.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.scoring.reasoning import Reasoning
from vovnet.vlm.agreement import difference
from vovnet.vlm.decoding import pad_right, row_generators
from vovnet.vlm.generic.builder import GenericBuilder
from vovnet.vlm.generic.passes import Passes, Seen, Writer
from vovnet.vlm.generic.prompts import Prompt, collate, collate_images
from vovnet.vlm.generic.state import GenericState, Part, Prefix, in_order, join_parts, joins
from vovnet.vlm.protocol import VLM, Answer, Batch, Decoding, Reading

# Standard deviations of the logits: more than rounding in any precision, less than another image makes.
COPIED = 0.5


@dataclass(frozen=True)
class Exact:
    """What a model does exactly, as ``vovnet.vlm.generic.check`` finds; where it does not, another way is taken.

    Attributes:
        batch: prompts of several lengths are read together.
        reuse: an image prompt goes on from the cache of its text.
        gap: such prompts of several lengths together, with padding after the text.
        resume: a prompt that was read goes on with an answer or a reference.
        join: answers to prompts with and without images are written together.
        answer_type: token type of a reference read in one pass with its prompt; None where only writing it is exact.
        differences: largest differences of logits that the check saw, by name, in standard deviations.
    """

    batch: bool = True
    reuse: bool = True
    gap: bool = True
    resume: bool = True
    join: bool = True
    answer_type: int | None = 0
    differences: tuple[tuple[str, float], ...] = ()


class GenericVLM(VLM):
    """A model of transformers' ``AutoModelForImageTextToText`` behind ``vovnet.vlm.protocol.VLM``.

    Args:
        model: in evaluation mode.
        builder: makes this model's batches.
        end_tokens: ids that end an answer, the tokenizer's own first.
        fingerprint: SHA-256 of weights and configuration.
        reuse: continue the text pass's cache in a vision pass where the prompt order allows it.
        reasoning: how the model marks its reasoning.
        hidden_tokens: special tokens that no answer shows.
        batch_invariant: read and answer every question by itself, so that none depends on those beside it.
    """

    implementation = "generic"

    def __init__(
        self,
        model: Any,
        builder: GenericBuilder,
        end_tokens: tuple[int, ...],
        fingerprint: str,
        reuse: bool,
        reasoning: Reasoning,
        hidden_tokens: frozenset[int],
        batch_invariant: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.passes = Passes(model, end_tokens)
        self.builder = builder
        self.end_tokens = end_tokens
        self.fingerprint = fingerprint
        self.reasoning = reasoning
        self.asks_reuse = reuse
        self.exact = Exact()
        self.cache_reuse = False
        self.hidden_tokens = hidden_tokens
        self.batch_invariant = batch_invariant

    @property
    def capabilities(self) -> frozenset[str]:
        """What this model can be asked for."""
        found = {"hidden", "logprobs", "nll", "train"}
        return frozenset(found | {name for name in ("batch", "reuse") if getattr(self.exact, name)})

    @property
    def checked(self) -> dict[str, Any]:
        """What was found exact at load, and the differences seen: null where the family refuses a way."""
        seen = {name: value if math.isfinite(value) else None for name, value in self.exact.differences}
        return asdict(self.exact) | {"differences": seen}

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def answers_looks_together(self) -> bool:
        """On a GPU, where a step takes as long for few rows as for many."""
        return self.exact.join and self.device.type == "cuda"

    def settle(self, exact: Exact) -> None:
        """Take the ways that are exact."""
        self.exact = exact
        self.cache_reuse = self.asks_reuse and exact.reuse and self.builder.shares_text

    def read(self, batch: Batch, action: Action, after: GenericState | None = None) -> GenericState:
        """Read prompts: without images under NO, with the images of ``action`` under the others."""
        if action is Action.NO and after is not None:
            return after
        prompts = self.builder.prompts(batch, action)
        reuses = self.cache_reuse and not torch.is_grad_enabled()  # gradients flow through whole prompts only
        if reuses and after is not None and all(one.prefix is not None for one in after.parts):
            return GenericState(tuple(part for one in after.parts for part in self.continued(prompts, one)))
        own = action is Action.NO and reuses
        return GenericState(tuple(self.read_rows(prompts, rows, own) for rows in self.together(prompts)))

    def answer(self, readings: Sequence[Reading], decoding: Decoding, seed: int = 0) -> list[list[Answer]]:
        """Answers that continue each reading, which stays as it is.

        Where that is exact all are written together: a step reads every weight, for few rows as for many.
        """
        together = self.exact.join and decoding.num_beams == 1 and not self.batch_invariant
        alone, joined = list[list[tuple[int, Part]]](), list[tuple[int, Part]]()
        for number, reading in enumerate(readings):
            for part in reading.state.parts:
                if together and joins(part):
                    joined.append((number, part))
                else:
                    alone.append([(number, part)])
        found: dict[tuple[int, int], Answer] = {}
        with torch.no_grad():
            for group in [*alone, joined] if joined else alone:
                places = [(number, row) for number, part in group for row in part.rows]
                found |= zip(places, self._answer(readings, group, decoding, seed), strict=True)
        return [[found[number, row] for row in range(len(one.batch))] for number, one in enumerate(readings)]

    def nll(self, state: GenericState, references: Sequence[list[int]]) -> Tensor:
        """Mean negative log-likelihood of each reference, nats per token, float32 [B]."""
        found = []
        for part in state.parts:
            ids, real = self._padded([references[row] for row in part.rows])
            found.append(-(self._log_probs(part, ids, real) * real).sum(1) / real.sum(1))
        return in_order(state.parts, found)

    def training_nll(self, batch: Batch, action: Action) -> Tensor:
        """The same in one pass over prompt and answer, with gradients, [B]."""
        prompts = self.builder.prompts(batch, action)
        groups, found = self.together(prompts), []
        for rows in groups:
            ids, real = self._padded([batch.references[row] for row in rows])
            found.append(-(self.one_pass([prompts[row] for row in rows], ids, real) * real).sum(1) / real.sum(1))
        order = torch.tensor([row for rows in groups for row in rows], device=self.device).argsort()
        return torch.cat(found)[order]

    # Reading

    def together(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Rows that are read in one call: each by itself where padding is not exact, or no batch may count.

        Where masks are over images, as Mllama's, prompts with other numbers of images are read apart: tokens before the
        first image look at all alike, those that pad included.
        """
        if not self.exact.batch or (self.batch_invariant and not torch.is_grad_enabled()):
            return [[row] for row in range(len(prompts))]
        found: dict[Any, list[int]] = {}
        for row, prompt in enumerate(prompts):
            widths = sorted((name, tuple(said.shape[1:])) for name, said in prompt.extra.items())
            found.setdefault(tuple(widths), []).append(row)
        return list(found.values())

    def read_rows(self, prompts: Sequence[Prompt], rows: Sequence[int], begin: bool = False) -> Part:
        """Read rows whole; with ``begin``, first what they share with prompts that show images."""
        own = tuple(prompts[row] for row in rows)
        if begin:
            first = self._inputs([prompt.beginning() for prompt in own], [0] * len(own))
            prefix = Prefix(first, self.passes.run(first, {}).cache)
            return replace(self._after(prefix, own, rows), prefix=prefix, reused=0)
        inputs, images = self._inputs(own, [0] * len(own)), self._images(own)
        seen = self.passes.run(inputs, images)
        return Part(tuple(rows), own, inputs, self._kept(seen), seen.hidden[:, -1], seen.logits[:, -1])

    def continued(self, prompts: Sequence[Prompt], text: Part) -> list[Part]:
        """Read the rows of a text pass with their images, going on from its cache; those that share nothing, whole."""
        assert text.prefix is not None
        rows = [prompts[row] for row in text.rows]
        groups: dict[int, list[int]] = {}
        for number, prompt in enumerate(rows):
            length = 0 if self.exact.gap else len(prompt.ids) - prompt.shared
            groups.setdefault(length if prompt.shared else -1, []).append(number)
        apart = groups.pop(-1, [])
        together = self.together([rows[number] for number in apart])
        found = [self.read_rows(prompts, [text.rows[apart[n]] for n in group]) for group in together]
        for _, own in sorted(groups.items()):
            prefix = text.prefix
            if len(own) < len(rows):
                prefix = prefix.select(torch.tensor(own, device=self.device))
            found.append(self._after(prefix, [rows[n] for n in own], [text.rows[n] for n in own]))
        return found

    def _after(self, prefix: Prefix, prompts: Sequence[Prompt], rows: Sequence[int]) -> Part:
        """Read what follows a prefix, whose cache is copied."""
        rest = self._inputs(prompts, [prompt.shared for prompt in prompts])
        inputs = {}
        for name, tensor in rest.items():
            before = prefix.inputs.get(name)
            if before is None:  # what is said of image tokens only
                before = tensor.new_zeros(len(tensor), prefix.inputs["input_ids"].shape[1], *tensor.shape[2:])
            inputs[name] = torch.cat([before, tensor], dim=1)
        seen = self.passes.run(inputs, self._images(prompts), copy.deepcopy(prefix.cache))
        columns = prefix.inputs["input_ids"].shape[1]
        kept = self._kept(seen)
        return Part(tuple(rows), tuple(prompts), inputs, kept, seen.hidden[:, -1], seen.logits[:, -1], reused=columns)

    def _kept(self, seen: Seen) -> Any:
        return seen.cache if self.exact.resume else None

    # Answering

    def _answer(
        self, readings: Sequence[Reading], group: Sequence[tuple[int, Part]], decoding: Decoding, seed: int
    ) -> list[Answer]:
        """Answers to the rows of some parts, each of the reading with its number, one part after another."""
        part, generators = join_parts([part for _, part in group], self.model.config), list[torch.Generator]()
        for number, own in group if decoding.do_sample else ():
            indices = tuple(readings[number].batch.indices[row] for row in own.rows)
            generators += row_generators(indices, readings[number].action, seed)
        ids, log_prob = self._write(part, decoding, generators or None)
        if decoding.num_beams > 1:
            log_prob = self._log_prob(part, ids)
        return self.answers(ids, log_prob.exp())

    def _write(self, part: Part, decoding: Decoding, generators: list[torch.Generator] | None) -> tuple[Tensor, Tensor]:
        """Ids [n, T] of each row's answer and their log-probability [n], which beam search leaves out.

        The part's cache grows.
        """
        ends = torch.tensor(self.end_tokens, device=self.device)
        writer = Writer(ends, decoding.temperature, generators)
        if decoding.num_beams > 1:
            inputs = part.inputs | self._images(part.prompts)
            ids, logits = self.passes.beams(inputs, decoding.max_new_tokens, decoding.num_beams)
            self._check_copies(logits, part.logits.repeat_interleave(decoding.num_beams, dim=0))
            return ids, torch.zeros(len(ids), device=self.device)
        if part.cache is None:
            ids = self.passes.generate(
                part.inputs | self._images(part.prompts), None, decoding.max_new_tokens, logits_processor=[writer]
            )
        else:
            ids = writer.choose(part.logits)[:, None]
            if decoding.max_new_tokens > 1 and not writer.finished:
                inputs = followed(part.inputs, ids) | self._grids(part.prompts)
                more = self.passes.generate(inputs, part.cache, decoding.max_new_tokens - 1, logits_processor=[writer])
                ids = torch.cat([ids, more], dim=1)
        return ids, torch.stack(writer.log_prob).sum(0)

    def _check_copies(self, logits: Tensor, truth: Tensor) -> None:
        """Whether the copies that beam search makes of a prompt are read as the prompt is, [n * beams, V] both.

        GLM-4V's of transformers 5.23 take the images of a prompt with several in another order, without an error.

        Raises:
            VoVNetError: they are not.
        """
        if difference(logits, truth) > COPIED:
            raise VoVNetError(
                f"beam search shows this {self.model.config.model_type} model the images of a prompt in another order; "
                "set eval.num_beams=1."
            )

    def _log_prob(self, part: Part, ids: Tensor) -> Tensor:
        """Of written ids up to each row's end token, [n]."""
        answers, real = self._padded([self.until_end(row) for row in ids.tolist()])
        return (self._log_probs(part, answers, real) * real).sum(1)

    # References

    def _padded(self, references: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        return pad_right(references, self.end_tokens[0], self.device)

    def _log_probs(self, part: Part, ids: Tensor, real: Tensor) -> Tensor:
        """Of each reference token after the prompt and the tokens before it, [n, T]."""
        if part.cache is not None:
            return self.resumed(part, ids, real)
        if torch.is_grad_enabled() or self.exact.answer_type is not None:
            return self.one_pass(part.prompts, ids, real)
        return self.written(part, ids)

    # Each of the following takes one way to the log-probabilities; ``check`` compares them.

    def resumed(self, part: Part, ids: Tensor, real: Tensor) -> Tensor:
        """By going on from a part's cache, which stays as it is."""
        logits = part.logits[:, None]
        if (more := ids.shape[1] - 1) > 0:
            inputs = followed(part.inputs, ids[:, :-1], real[:, :-1])
            cache = copy.deepcopy(part.cache)
            logits = torch.cat([logits, self.passes.run(inputs, self._grids(part.prompts), cache, more).logits], dim=1)
        return log_probs(logits, ids)

    def one_pass(self, prompts: Sequence[Prompt], ids: Tensor, real: Tensor) -> Tensor:
        """By reading prompts and references in one pass, the only one through which gradients flow."""
        inputs = followed(self._inputs(prompts, [0] * len(prompts)), ids[:, :-1], real[:, :-1])
        if "token_type_ids" in inputs and self.exact.answer_type:
            inputs["token_type_ids"][:, -(ids.shape[1] - 1) :] = self.exact.answer_type
        return log_probs(self.passes.forward(inputs, self._images(prompts), ids.shape[1]).logits, ids)

    def written(self, part: Part, ids: Tensor) -> Tensor:
        """By writing the reference token after token, as an answer is written."""
        writer = Writer(torch.tensor([-1], device=self.device), forced=ids)
        inputs = part.inputs | self._images(part.prompts)
        self.passes.generate(inputs, None, ids.shape[1], logits_processor=[writer], eos_token_id=None)
        return torch.stack(writer.log_prob, dim=1)

    def _inputs(self, prompts: Sequence[Prompt], begins: Sequence[int]) -> dict[str, Tensor]:
        return collate(prompts, begins, self.end_tokens[0], self.device)

    def _images(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        return collate_images(prompts, self.builder.prompter.axes, self.device, self.model.dtype)

    def _grids(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """What is said of images beside their pixels; the positions of what follows may depend on it."""
        rest = [replace(p, images={n: t for n, t in p.images.items() if not n.startswith("pixel")}) for p in prompts]
        return collate_images(rest, self.builder.prompter.axes, self.device, self.model.dtype)


def followed(inputs: dict[str, Tensor], ids: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
    """Token inputs [n, L, ...] and ids [n, T] after them; everything else is said of them as of the last column."""
    more = {name: torch.cat([t, t[:, -1:].expand(-1, ids.shape[1], *t.shape[2:])], dim=1) for name, t in inputs.items()}
    more["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
    if real is not None:
        more["attention_mask"] = torch.cat([inputs["attention_mask"], real.long()], dim=1)
    return more


def log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """Of ids [n, T] under logits [n, T, V], each one position before its token."""
    return torch.log_softmax(logits, dim=-1).gather(2, ids[..., None])[..., 0]
