"""An untrained small Qwen3-VL with a tokenizer and an image processor of its own, as a checkpoint folder."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from experiments.tiny_backbone.recipe import Architecture

MERGE_SIZE = 2
END, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

# The public checkpoints' turn format without its line breaks: fewer tokens on a small machine.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "<|im_start|>"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "<|im_end|>"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>{%- endif -%}"
)


def write_untrained(folder: Path, sizes: Architecture, texts: Iterable[str], seed: int) -> None:
    """Write model, tokenizer and image processor; the same seed and texts give the same bytes."""
    tokenizer = train_tokenizer(texts, sizes.vocab_size)
    config = model_config(sizes, tokenizer)
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config)
    initialise(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=sizes.patch_size,
        merge_size=MERGE_SIZE,
        temporal_patch_size=1,
        size={"shortest_edge": (sizes.patch_size * MERGE_SIZE) ** 2, "longest_edge": sizes.max_side**2},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ).save_pretrained(folder)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text encodes, frequent words are one token."""
    tokenizer = Tokenizer(models.BPE())
    # Digits one by one: a number that was never seen is read like any other.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, START_TURN, END_TURN, *IMAGE_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TURN,
        pad_token=END,
        additional_special_tokens=[START_TURN, *IMAGE_TOKENS],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def model_config(sizes: Architecture, tokenizer: Any) -> Qwen3VLConfig:
    """The architecture of Qwen3-VL at the given sizes."""
    head_dim = sizes.hidden_size // sizes.num_heads
    section = head_dim // 2 // 3
    start, end, image, video = (tokenizer.convert_tokens_to_ids(t) for t in IMAGE_TOKENS)
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.intermediate_size,
            "num_hidden_layers": sizes.num_layers,
            "num_attention_heads": sizes.num_heads,
            "num_key_value_heads": sizes.num_key_value_heads,
            "head_dim": head_dim,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [head_dim // 2 - 2 * section, section, section],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": sizes.vision_depth,
            "hidden_size": sizes.vision_hidden_size,
            "intermediate_size": sizes.vision_intermediate_size,
            "num_heads": sizes.vision_heads,
            "patch_size": sizes.patch_size,
            "spatial_merge_size": MERGE_SIZE,
            "temporal_patch_size": 1,
            "out_hidden_size": sizes.hidden_size,
            "num_position_embeddings": (sizes.max_side // sizes.patch_size) ** 2,
            "deepstack_visual_indexes": list(sizes.deepstack_layers),
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=False,
    )


def initialise(model: nn.Module) -> None:
    """Draw every linear and convolution weight at 1/sqrt(fan-in).

    The architecture's default of 0.02 is made for widths in the thousands; at a width of about a
    hundred it leaves the signal so small that shapes are not learned for thousands of steps.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=1 / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
