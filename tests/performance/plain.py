"""The looks of ``+experiment=question`` on mini_textvqa, as one would write them with transformers alone.

python -m tests.performance.plain CHECKPOINT DATA COUNT    (prints the answers of each look as JSON)

It does once what need be done once: an image is opened, resized and encoded once for its questions in a batch and for
all ratios of pruning, and answers are written in batches of 64. It scores nothing and keeps nothing.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, DynamicCache

BATCH, NEW_TOKENS = 64, 16
SIDES = {"coarse": 16, "full": 64}  # pixels of the longer side
RATIOS = (0.75, 0.5, 0.25)  # of FULL's tokens, evenly spaced
PROMPT = "{}\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Prompts:
    """Prompts of a batch before padding: per question ids [L], positions [3, L] and image features [levels, T, D]."""

    ids: list[Tensor]
    positions: list[Tensor]
    features: list[Tensor]


@dataclass(frozen=True)
class Loop:
    """Model and processors of a checkpoint."""

    model: Any
    tokenizer: Any
    processor: Any

    @classmethod
    def of(cls, folder: str) -> "Loop":
        """Load them."""
        model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        return cls(model, AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder))

    @torch.inference_mode()
    def __call__(self, questions: Sequence[Mapping[str, Any]], images: Path) -> dict[str, list[str]]:
        """Answers by look, in the questions' order."""
        said: dict[str, list[str]] = {}
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            names = [str(one["image_id"]) for one in batch]
            opened = {name: Image.open(images / f"{name}.jpg").convert("RGB") for name in dict.fromkeys(names)}
            asked = [PROMPT.format(one["question"]) for one in batch]
            for look, prompts in self._looks(asked, names, opened):
                said.setdefault(look, []).extend(self._answers(prompts))
        return said

    def _looks(
        self, asked: list[str], names: list[str], opened: dict[str, Image.Image]
    ) -> Iterator[tuple[str, Prompts]]:
        yield "no", self._prompts(asked, None, [])
        for look, side in SIDES.items():
            pixels = self.processor(
                [picture.resize(_size(picture, side), Image.Resampling.BICUBIC) for picture in opened.values()],
                do_resize=False,
                return_tensors="pt",
            )
            grids = pixels["image_grid_thw"]
            seen = self.model.get_image_features(pixels["pixel_values"], grids)
            levels = zip(seen.pooler_output, *seen.deepstack_features, strict=True)
            of = dict(zip(opened, zip(grids, map(torch.stack, levels), strict=True), strict=True))
            whole = self._prompts(asked, torch.stack([of[name][0] for name in names]), [of[name][1] for name in names])
            yield look, whole
        for ratio in RATIOS:
            yield f"full {ratio}", self._pruned(whole, ratio)

    def _prompts(self, asked: list[str], grids: Tensor | None, features: list[Tensor]) -> Prompts:
        """Prompts with their images after the question; ``grids`` [B, 3] in patches."""
        shown = [] if grids is None else [{"type": "image"}]
        pad, merge = "<|image_pad|>", self.processor.merge_size
        texts = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": [{"type": "text", "text": text}, *shown]}],
                tokenize=False,
                add_generation_prompt=True,
            )
            for text in asked
        ]
        if grids is not None:
            counts = (grids.prod(1) // merge**2).tolist()
            texts = [text.replace(pad, pad * count) for text, count in zip(texts, counts, strict=True)]
        padded = self.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt", add_special_tokens=False)
        ids, real = padded["input_ids"], padded["attention_mask"].bool()
        kinds = (ids == self.model.config.image_token_id).int()
        positions, _ = self.model.model.get_rope_index(ids, kinds, image_grid_thw=grids, attention_mask=real)
        rows = range(len(ids))
        return Prompts([ids[r, real[r]] for r in rows], [positions[:, r, real[r]] for r in rows], features)

    def _pruned(self, whole: Prompts, ratio: float) -> Prompts:
        """The same with a share of each image's tokens, which stay where they stood."""
        found = Prompts([], [], [])
        for ids, positions, levels in zip(whole.ids, whole.positions, whole.features, strict=True):
            total = levels.shape[1]
            count = math.ceil(ratio * total)
            kept = (torch.arange(count) * 2 + 1) * total // (2 * count)
            stays = ids != self.model.config.image_token_id
            stays[(~stays).nonzero()[kept, 0]] = True
            found.ids.append(ids[stays])
            found.positions.append(positions[:, stays])
            found.features.append(levels[:, kept])
        return found

    def _answers(self, prompts: Prompts) -> list[str]:
        """Greedy answers, written together."""
        longest, count = max(map(len, prompts.ids)), len(prompts.ids)
        ids, mask = torch.zeros(count, longest, dtype=torch.long), torch.zeros(count, longest, dtype=torch.long)
        positions = torch.zeros(3, count, longest, dtype=torch.long)
        for row, (own, places) in enumerate(zip(prompts.ids, prompts.positions, strict=True)):
            ids[row, longest - len(own) :], mask[row, longest - len(own) :] = own, 1
            positions[:, row, longest - len(own) :] = places
        language, cache, images = self.model.model.language_model, DynamicCache(), {}
        embeds = self.model.get_input_embeddings()(ids)
        if prompts.features:
            places, levels = ids == self.model.config.image_token_id, torch.cat(prompts.features, dim=1)
            embeds = embeds.masked_scatter(places[..., None], levels[0])
            images = {"visual_pos_masks": places, "deepstack_visual_embeds": list(levels[1:])}
        after = positions[:, :, -1:] + 1
        end, tokens = self.tokenizer.eos_token_id, list[Tensor]()
        for step in range(NEW_TOKENS):
            out = language(
                inputs_embeds=embeds,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                **images,
            )
            tokens.append(self.model.lm_head(out.last_hidden_state[:, -1]).argmax(-1))
            if (torch.stack(tokens) == end).any(0).all():
                break
            embeds, images, positions = self.model.get_input_embeddings()(tokens[-1][:, None]), {}, after + step
            mask = torch.cat([mask, mask.new_ones(count, 1)], dim=1)
        rows = torch.stack(tokens, dim=1).tolist()
        return self.tokenizer.batch_decode([row[: row.index(end)] if end in row else row for row in rows])


def _size(picture: Image.Image, side: int, unit: int = 8) -> tuple[int, int]:
    """(width, height) of at most ``side`` pixels in whole tokens."""
    scale = min(1.0, side / max(picture.size))
    width, height = (max(1, round(length * scale / unit)) * unit for length in picture.size)
    return width, height


def main(checkpoint: str, data: str, count: str) -> None:
    """Answer the first questions of the test split."""
    folder = Path(data)
    questions = json.loads((folder / "TextVQA_0.5.1_val.json").read_text())["data"][: int(count)]
    print(json.dumps(Loop.of(checkpoint)(questions, folder / "train_images")))


if __name__ == "__main__":
    main(*sys.argv[1:])
