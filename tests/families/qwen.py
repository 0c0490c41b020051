"""Qwen's families: patches merged two by two, positions in three dimensions."""

from typing import Any

from tests.families.family import HALF, HIDDEN, Config, Family, component, identifier, text
from tests.families.tokenizers import CHATML, Prompt, chatml

PIXELS = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
COARSE = {"size": {"shortest_edge": 32 * 32, "longest_edge": 48 * 48}}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 8,
    "spatial_merge_size": 2,
}
MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
HELPFUL = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
THINKING = (
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
)
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
LINEAR = {
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "head_dim": 32,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}


def rope(**keys: Any) -> Config:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2], **keys}}


INTERLEAVED = rope(mrope_interleaved=True)
PARTIAL = rope(mrope_interleaved=True, partial_rotary_factor=0.5)


def prompt(template: str) -> Prompt:
    marks = ("<|im_start|>", *MARKS, "<think>", "</think>")
    return Prompt(eos=CHATML["eos"], pad=CHATML["pad"], stops=(CHATML["pad"],), others=marks, template=template)


def config(tokenizer: Any, words: Config, vision: Config) -> Config:
    start, end, image, video = (identifier(tokenizer, mark) for mark in MARKS)
    return {
        "text_config": text(tokenizer, **words),
        "vision_config": {**VISION, **vision},
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": start,
        "vision_end_token_id": end,
    }


def processor(name: str, video: str, mean: Config) -> Any:
    sizes = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2, "size": PIXELS, **mean}
    return lambda tokenizer: component(
        name,
        image_processor=component("Qwen2VLImageProcessor", **sizes),
        tokenizer=tokenizer,
        video_processor=component(video, **sizes),
    )


def older(name: str, vision: Config) -> Family:
    """Qwen2-VL and Qwen2.5-VL."""
    return Family(
        prompt(chatml(IMAGE, system=HELPFUL)),
        lambda tokenizer: config(tokenizer, rope(), vision),
        processor(name, "Qwen2VLVideoProcessor", {}),
        tokens=(16, 48, 12),
        coarse=COARSE,
        coarse_tokens=(9, 6, 9),
    )


def newer(words: Config, vision: Config, reply: Config) -> Family:
    """Qwen3-VL and what follows it."""
    vision = {"out_hidden_size": HIDDEN, "num_position_embeddings": 64, **vision}
    return Family(
        prompt(chatml(IMAGE, **reply)),
        lambda tokenizer: config(tokenizer, words, vision),
        processor("Qwen3VLProcessor", "Qwen3VLVideoProcessor", HALF),
        tokens=(16, 48, 12),
        coarse=COARSE,
        coarse_tokens=(9, 6, 9),
    )


INDEXER = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 32,
    "indexer_compress_ratio": 4,
}
HYPER = {"hc_count": 2, "hc_lowrank": 8}
DEEPSTACK = {"deepstack_visual_indexes": [0, 1]}
THINKS = {"reply": THINKING}

FAMILIES = {
    "qwen2_vl": older("Qwen2VLProcessor", {"embed_dim": 32, "hidden_size": HIDDEN, "mlp_ratio": 2}),
    "qwen2_5_vl": older(
        "Qwen2_5_VLProcessor", {"out_hidden_size": HIDDEN, "window_size": 32, "fullatt_block_indexes": [1]}
    ),
    "qwen3_vl": newer(INTERLEAVED, DEEPSTACK, {}),
    "qwen3_vl_moe": newer({**INTERLEAVED, **EXPERTS}, DEEPSTACK, {}),
    "qwen3_5": newer({**PARTIAL, **LINEAR}, {}, THINKS),
    "qwen3_5_moe": newer({**PARTIAL, **LINEAR, **EXPERTS}, {}, THINKS),
    "qwen4_exp": newer({**PARTIAL, **LINEAR, **EXPERTS, **INDEXER, **HYPER}, {}, THINKS),
}
