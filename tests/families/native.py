"""Families whose tower takes an image in its own shape: Pixtral, GLM, LFM, Kimi."""

from typing import Any

from tests.families.family import HALF, HIDDEN, VISION, Config, Family, component, identifier, model
from tests.families.qwen import COARSE, MARKS, PIXELS
from tests.families.tokenizers import Prompt, chat, chatml

BRACKETS = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{% elif m.role == 'system' %}[SYSTEM_PROMPT]"
    "{% endif %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}[IMG]{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}"
    "{% if m.role == 'user' %}[/INST]{% elif m.role == 'system' %}[/SYSTEM_PROMPT]{% else %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


def pixtral(patch: int, merge: int, keys: Config, model_type: str | None = None) -> Family:
    """Pixtral's tower in LLaVA, or with merged patches in Mistral 3; every row of an image ends with a token."""
    tower = {**VISION, "model_type": "pixtral", "image_size": 128, "patch_size": patch, "head_dim": 16}
    return Family(
        Prompt(bos="<s>", adds_bos=True, eos="</s>", pad="<pad>", others=BRACKETS, template=MISTRAL),
        lambda tokenizer: model(
            tokenizer,
            {"model_type": "mistral", "sliding_window": None},
            tower,
            image_token_index=identifier(tokenizer, "[IMG]"),
            vision_feature_layer=-1,
            **keys,
        ),
        lambda tokenizer: component(
            "PixtralProcessor",
            image_processor=component(
                "PixtralImageProcessor", patch_size={"height": patch, "width": patch}, size={"longest_edge": 128}
            ),
            tokenizer=tokenizer,
            patch_size=patch,
            spatial_merge_size=merge,
        ),
        tokens=(16, 48, 8),
        coarse={"size": {"longest_edge": 48}},
        coarse_tokens=(9, 9, 3),
        model_type=model_type,
    )


GLM_MARKS = (
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
)
GLM_OTHERS = ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>", *GLM_MARKS)
GLM_IMAGE = "<|begin_of_image|><|image|><|end_of_image|>"
GLM_EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}


def glm(name: str, text_type: str, vision_type: str, words: Config) -> Family:
    """GLM-4.1V, 4.5V and 4.6V; the pixel budget counts both frames that an image is doubled to."""
    sizes = {
        "patch_size": 8,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 2 * 32 * 32, "longest_edge": 2 * 128 * 128},
    }

    def config(tokenizer: Any) -> Config:
        starts = dict(
            zip(("image_start", "image_end", "video_start", "video_end", "image", "video"), GLM_MARKS, strict=True)
        )
        rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}
        return model(
            tokenizer,
            {"model_type": text_type, "rope_parameters": rope, **words},
            {
                "model_type": vision_type,
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "patch_size": 8,
                "image_size": 64,
                "out_hidden_size": HIDDEN,
            },
            **{f"{key}_token_id": identifier(tokenizer, mark) for key, mark in starts.items()},
        )

    return Family(
        Prompt(
            eos="<|endoftext|>",
            stops=("<|user|>",),
            pad="<|pad|>",
            others=GLM_OTHERS,
            template=chat("<|{role}|>\n", "", "<|assistant|>\n", GLM_IMAGE, head="[gMASK]<sop>"),
        ),
        config,
        lambda tokenizer: component(
            f"{name}Processor",
            image_processor=component(f"{name}ImageProcessor", **sizes),
            tokenizer=tokenizer,
            video_processor=component(f"{name}VideoProcessor", **sizes),
        ),
        tokens=(16, 48, 12),
        coarse={"size": {"shortest_edge": 2 * 32 * 32, "longest_edge": 2 * 48 * 48}},
        coarse_tokens=(9, 6, 9),
    )


LFM = {"bos": "<|startoftext|>", "eos": "<|im_end|>", "pad": "<|pad|>", "adds_bos": True}
LFM_HEAD = "{{ bos_token }}"
LFM2_MARKS = ("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
TILES = tuple(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5))

lfm2_vl = Family(
    Prompt(**LFM, others=("<|im_start|>", *LFM2_MARKS, *TILES), template=chatml("<image>", head=LFM_HEAD)),
    lambda tokenizer: model(
        tokenizer,
        {
            "model_type": "lfm2",
            "num_hidden_layers": 4,
            "layer_types": ["conv", "full_attention", "conv", "full_attention"],
            "block_multiple_of": 8,
        },
        {**VISION, "model_type": "siglip2_vision_model", "patch_size": 8, "num_patches": 64, "vision_use_head": False},
        image_token_id=identifier(tokenizer, "<image>"),
        downsample_factor=2,
        projector_hidden_size=HIDDEN,
    ),
    lambda tokenizer: component(
        "Lfm2VlProcessor",
        image_processor=component(
            "Lfm2VlImageProcessor",
            encoder_patch_size=8,
            tile_size=64,
            size={"height": 64, "width": 64},
            min_image_tokens=4,
            max_image_tokens=16,
            max_tiles=4,
        ),
        tokenizer=tokenizer,
    ),
    tokens=(16, 76, 12),
    coarse={"do_image_splitting": False, "max_image_tokens": 4},  # the latter alone splits sooner: 68, 66, 70
    coarse_tokens=(4, 2, 6),
)

LFM3_LAYERS = ["conv", "sliding_attention", "conv", "full_attention"]
lfm3_vl = Family(
    Prompt(
        **LFM,
        others=("<|im_start|>", *MARKS),
        template=chatml("<|vision_start|><|image_pad|><|vision_end|>", head=LFM_HEAD),
    ),
    lambda tokenizer: model(
        tokenizer,
        {
            "model_type": "lfm3",
            "num_hidden_layers": 4,
            "layer_types": LFM3_LAYERS,
            "sliding_window": 16,
            "conv_L_cache": 3,
        },
        {**VISION, "num_key_value_heads": 2, "patch_size": 8, "layer_types": ["conv", "full_attention"]},
        **{
            f"{key}_token_id": identifier(tokenizer, mark)
            for key, mark in zip(("vision_start", "vision_end", "image", "video"), MARKS, strict=True)
        },
        projector_hidden_size=HIDDEN,
    ),
    lambda tokenizer: component(
        "Lfm3VlProcessor",
        image_processor=component("Qwen2VLImageProcessor", patch_size=8, size=PIXELS, **HALF),
        tokenizer=tokenizer,
        video_processor=component("Qwen3VLVideoProcessor", patch_size=8, size=PIXELS, **HALF),
    ),
    tokens=(16, 48, 12),
    coarse=COARSE,
    coarse_tokens=(9, 6, 9),
)

KIMI_MARKS = (
    "<|media_begin|>",
    "<|media_content|>",
    "<|media_end|>",
    "<|media_pad|>",
    "<|kimi_k25_video_placeholder|>",
)
KIMI_TURNS = ("<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>")
KIMI_IMAGE = "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>"
kimi_k25 = Family(
    Prompt(
        bos="[BOS]",
        eos="<|im_end|>",
        pad="[PAD]",
        others=(*KIMI_MARKS, *KIMI_TURNS),
        template=chat(
            "<|im_{role}|>{role}<|im_middle|>", "<|im_end|>", "<|im_assistant|>assistant<|im_middle|>", KIMI_IMAGE
        ),
    ),
    lambda tokenizer: model(
        tokenizer,
        {
            "model_type": "deepseek_v3",
            "num_key_value_heads": 4,
            "head_dim": 8,
            "kv_lora_rank": 16,
            "q_lora_rank": 24,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 16,
            "n_group": 1,
            "topk_group": 1,
            **GLM_EXPERTS,
        },
        {**VISION, "patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8},
        image_token_id=identifier(tokenizer, "<|media_pad|>"),
        video_token_id=identifier(tokenizer, "<|kimi_k25_video_placeholder|>"),
        vision_start_token_id=identifier(tokenizer, "<|media_begin|>"),
        vision_end_token_id=identifier(tokenizer, "<|media_end|>"),
        projection_hidden_size=32,
    ),
    lambda tokenizer: component(
        "Kimi_K25Processor",
        image_processor=component("Kimi_K25ImageProcessor", patch_size=8),
        tokenizer=tokenizer,
        video_processor=component("Kimi_K25VideoProcessor", patch_size=8),
    ),
    tokens=(16, 48, 26),
    coarse={"max_patches": 36},
    coarse_tokens=(9, 12, 11),
)

FAMILIES = {
    "mistral3": pixtral(8, 2, {"spatial_merge_size": 2}),
    "pixtral": pixtral(16, 1, {"vision_feature_select_strategy": "full", "image_seq_length": 1}, "llava"),
    "glm4v": glm("Glm4v", "glm4v_text", "glm4v_vision", {}),
    "glm46v": glm("Glm46V", "glm4v_text", "glm4v_vision", {}),
    "glm4v_moe": glm("Glm4v", "glm4v_moe_text", "glm4v_moe_vision", {**GLM_EXPERTS, "n_shared_experts": 1}),
    "lfm2_vl": lfm2_vl,
    "lfm3_vl": lfm3_vl,
    "kimi_k25": kimi_k25,
}
