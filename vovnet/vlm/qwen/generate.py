"""transformers' own ``generate`` over whole prompts: for beam search, and to compare speed with."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from vovnet.vlm.protocol import Decoding
from vovnet.vlm.qwen.forward import pad_left
from vovnet.vlm.qwen.inputs import InputBuilder, Pixels
from vovnet.vlm.qwen.prompt import Sequence


def generate_inputs(
    builder: InputBuilder, prompts: list[Sequence], pixels: Pixels | None, device: torch.device
) -> dict[str, Tensor]:
    """The arguments of transformers' ``generate`` for whole prompts, with their images where there are any."""
    padded = pad_left(prompts, [0] * len(prompts), builder.end_token, device)
    inputs = {"input_ids": padded.ids, "attention_mask": padded.mask}
    if pixels is not None:
        order = [i for row in pixels.rows for i in row]
        patches = pixels.patches(device, torch.float32)
        apart = torch.split(patches, [math.prod(grid) for grid in pixels.shapes])
        inputs |= {
            "pixel_values": torch.cat([apart[i] for i in order]),
            "image_grid_thw": torch.tensor([pixels.shapes[i] for i in order], device=device),
            "mm_token_type_ids": ((padded.ids == builder.format.image_pad) & padded.mask.bool()).int(),
        }
    return inputs


def generate(model: Any, inputs: dict[str, Tensor], decoding: Decoding, ends: Iterable[int], padding: int) -> Tensor:
    """Answers of transformers' own ``generate``, without sampling; ids [B, T]."""
    model.model.rope_deltas = None
    ids: Tensor = model.generate(
        **inputs,
        max_new_tokens=decoding.max_new_tokens,
        num_beams=decoding.num_beams,
        do_sample=False,
        eos_token_id=list(ends),
        pad_token_id=padding,
    )
    return ids[:, inputs["input_ids"].shape[1] :]
