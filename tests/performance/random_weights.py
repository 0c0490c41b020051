"""Backbones of published sizes with random weights: for speed, never for results.

What a forward pass costs depends on the sizes and not on the weights, so measuring them needs no download.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.device import pick_device
from vovnet.vlm.files import PACKAGED, Checkpoint
from vovnet.vlm.qwen.budget import make_budget
from vovnet.vlm.qwen.inputs import InputBuilder
from vovnet.vlm.qwen.loading import load_processors, optimize_for_inference
from vovnet.vlm.qwen.model import Backbone
from vovnet.vlm.qwen.prompt import make_format
from vovnet.vlm.reading import reading_of

# Whose texts are read.
TOKENIZER = Checkpoint(PACKAGED / "tiny", "random weights", {"model_type": "qwen3_vl"})
NO_END = -1  # an end token that is never drawn: every answer has all its tokens
SPECIAL = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True)
class TextSizes:
    """The language model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool  # the output matrix is the embedding


@dataclass(frozen=True)
class VisionSizes:
    """The vision tower; its mergers' output is as wide as the language model."""

    hidden: int
    depth: int
    heads: int
    intermediate: int
    deepstack: tuple[int, ...]  # layers whose features go into the language model's first layers
    patch: int = 16  # pixels
    temporal: int = 2  # frames a patch; a still image is repeated
    merge: int = 2  # patches a token, per axis
    positions: int = 2304


@dataclass(frozen=True)
class Sizes:
    """A whole Qwen3-VL."""

    text: TextSizes
    vision: VisionSizes


# From the config.json of Qwen/Qwen3-VL-8B-Instruct and Qwen/Qwen3-VL-2B-Instruct.
PUBLISHED = {
    "qwen3_vl_8b": Sizes(
        TextSizes(4096, 36, 32, 8, 128, 12288, 151936, tied=False),
        VisionSizes(1152, 27, 16, 4304, (8, 16, 24)),
    ),
    "qwen3_vl_2b": Sizes(
        TextSizes(2048, 28, 16, 8, 128, 6144, 151936, tied=True),
        VisionSizes(1024, 24, 16, 4096, (5, 11, 17)),
    ),
}


def sizes_of(config: BackboneConfig, tiny: bool) -> Sizes:
    """The sizes that a name stands for, or a model of the same build that a CPU runs in milliseconds."""
    sizes = PUBLISHED[config.name]
    if not tiny:
        return sizes
    text = replace(sizes.text, hidden=64, layers=3, heads=4, kv_heads=2, head_dim=32, intermediate=128, vocab=1024)
    vision = replace(sizes.vision, hidden=32, depth=3, heads=2, intermediate=64, deepstack=(0, 1))
    return Sizes(text, vision)


def random_backbone(config: BackboneConfig, budget: VisionBudgetConfig, sizes: Sizes, seed: int = 0) -> Backbone:
    """A backbone whose weights are drawn on its device, in the configured type.

    Tokeniser: the packaged tiny backbone's, whose ids are valid in the larger vocabulary.
    """
    device = pick_device(config.device)
    tokenizer, _ = load_processors(TOKENIZER.folder)
    found = reading_of(config, TOKENIZER)
    architecture = _architecture(sizes, tokenizer)
    with device:  # parameters are made where they stay: no copy of 16 GB in the host's memory
        model = Qwen3VLForConditionalGeneration._from_config(
            architecture, dtype=getattr(torch, config.dtype), attn_implementation=config.attn_implementation
        )
    draw_weights(model, torch.Generator(device).manual_seed(seed))
    optimize_for_inference(model, config)
    vision = sizes.vision
    builder = InputBuilder(
        tokenizer=tokenizer,
        image_processor=Qwen2VLImageProcessorPil(
            patch_size=vision.patch,
            merge_size=vision.merge,
            temporal_patch_size=vision.temporal,
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.5, 0.5, 0.5],
        ),
        format=make_format(
            tokenizer, (found.head, found.tail), architecture.to_dict(), vision.merge, config.prompt_order
        ),
        budget=make_budget(budget, vision.patch, vision.merge),
        end_token=tokenizer.eos_token_id,
    )
    backbone = Backbone(
        model,
        builder,
        (NO_END,),
        "random weights",
        cache_reuse=True,
        cuda_graphs=config.graphs,
        batch_invariant=config.batch_invariant,
    )
    return backbone.eval().requires_grad_(False)


def draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every matrix at 1/sqrt(fan-in): signals keep their size and nothing overflows in half precision."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv3d | nn.Embedding):
                fan_in = module.weight[0].numel()
                module.weight.normal_(std=1 / math.sqrt(fan_in), generator=generator)
            if isinstance(module, nn.Linear | nn.Conv3d) and module.bias is not None:
                module.bias.zero_()


def _architecture(sizes: Sizes, tokenizer: Any) -> Qwen3VLConfig:
    text, vision = sizes.text, sizes.vision
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in SPECIAL)
    third = text.head_dim // 2 * 20 // 64  # [24, 20, 20] of 64 frequency pairs go to time, height, width
    return Qwen3VLConfig(
        text_config={
            "vocab_size": text.vocab,
            "hidden_size": text.hidden,
            "intermediate_size": text.intermediate,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "num_key_value_heads": text.kv_heads,
            "head_dim": text.head_dim,
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [text.head_dim // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": text.tied,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": None,
        },
        vision_config={
            "depth": vision.depth,
            "hidden_size": vision.hidden,
            "intermediate_size": vision.intermediate,
            "num_heads": vision.heads,
            "patch_size": vision.patch,
            "spatial_merge_size": vision.merge,
            "temporal_patch_size": vision.temporal,
            "out_hidden_size": text.hidden,
            "num_position_embeddings": vision.positions,
            "deepstack_visual_indexes": list(vision.deepstack),
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=text.tied,
    )
