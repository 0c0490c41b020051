"""transformers' own ``generate`` over whole prompts: for beam search, and for speed to be held against."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vovnet.actions import Action
from vovnet.backbone.decoding import Decoding
from vovnet.backbone.forward import pad_left
from vovnet.backbone.inputs import Batch

if TYPE_CHECKING:
    from vovnet.backbone.backbone import Backbone


def generate_inputs(backbone: "Backbone", batch: Batch, action: Action) -> dict[str, Tensor]:
    """What transformers' ``generate`` takes for whole prompts, with their images where the action looks."""
    pixels = batch.pixels.get(action)
    prompts = backbone.prompts(batch, pixels)
    padded = pad_left(prompts, [0] * len(prompts), backbone.builder.end_token, backbone.device)
    inputs = {"input_ids": padded.ids, "attention_mask": padded.mask}
    if pixels is not None:
        order = [i for row in pixels.rows for i in row]
        inputs |= {
            "pixel_values": torch.cat([pixels.images[i][0] for i in order]).to(backbone.device),
            "image_grid_thw": torch.tensor([pixels.images[i][1] for i in order], device=backbone.device),
            "mm_token_type_ids": ((padded.ids == backbone.builder.format.image_pad) & padded.mask.bool()).int(),
        }
    return inputs


def generate(backbone: "Backbone", inputs: dict[str, Tensor], decoding: Decoding) -> Tensor:
    """Answers of transformers' own ``generate``, without sampling; ids [B, T]."""
    backbone.model.model.rope_deltas = None
    ids: Tensor = backbone.model.generate(
        **inputs,
        max_new_tokens=decoding.max_new_tokens,
        num_beams=decoding.num_beams,
        do_sample=False,
        eos_token_id=list(backbone.end_tokens),
        pad_token_id=backbone.builder.end_token,
    )
    return ids[:, inputs["input_ids"].shape[1] :]
