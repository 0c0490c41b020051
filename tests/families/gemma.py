"""Gemma's families: a fixed count of tokens an image, attention both ways among them."""

from tests.families.family import HIDDEN, VISION, Config, Family, component, identifier, identifiers, model
from tests.families.tokenizers import Prompt, chat

SIGLIP = {**VISION, "model_type": "siglip_vision_model", "image_size": 32, "vision_use_head": False}
SQUARE = {"height": 32, "width": 32}
SLIDING = {
    "num_hidden_layers": 4,
    "sliding_window": 16,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "full_attention"],
}


def gemma_chat(start: str, end: str, image: str) -> str:
    """Gemma calls the assistant `model`; BOS is in the template, and the tokenizer adds one as well."""
    return chat(f"{start}{{role}}\n", f"{end}\n", f"{start}model\n", image, head="{{ bos_token }}").replace(
        "{{ m.role }}", "{{ 'model' if m.role == 'assistant' else m.role }}"
    )


GEMMA: Config = {"bos": "<bos>", "adds_bos": True, "pad": "<pad>"}
GEMMA3_MARKS = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
gemma3 = Family(
    Prompt(
        **GEMMA,
        eos="<eos>",
        stops=("<end_of_turn>",),
        named=GEMMA3_MARKS,
        others=("<start_of_turn>",),
        template=gemma_chat("<start_of_turn>", "<end_of_turn>", "<start_of_image>"),
    ),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "gemma3_text", "query_pre_attn_scalar": 16, **SLIDING},
        {**SIGLIP, "patch_size": 4},
        mm_tokens_per_image=16,
        **{f"{key}_index": identifier(tokenizer, mark) for key, mark in GEMMA3_MARKS.items()},
    ),
    lambda tokenizer: component(
        "Gemma3Processor",
        image_processor=component("Gemma3ImageProcessor", size=SQUARE),
        tokenizer=tokenizer,
        image_seq_length=16,
    ),
    tokens=(16, 16, 16),
    coarse={},
    coarse_tokens=(16, 16, 16),
)

GEMMA4_MARKS = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
}
gemma4 = Family(
    Prompt(
        **GEMMA,
        eos="<eos>",
        stops=("<turn|>",),
        named=GEMMA4_MARKS,
        others=("<|turn>", "<|video|>"),
        template=gemma_chat("<|turn>", "<turn|>", "<|image|>"),
    ),
    lambda tokenizer: model(
        tokenizer,
        {
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": len(tokenizer),
            "use_bidirectional_attention": "vision",
            "num_kv_shared_layers": 1,
            "global_head_dim": 16,
            **SLIDING,
        },
        {
            **VISION,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        audio_config=None,
        **identifiers(
            tokenizer,
            boi_token_id="<|image>",
            eoi_token_id="<image|>",
            image_token_id="<|image|>",
            video_token_id="<|video|>",
            boa_token_id="<|audio>",
            eoa_token_index="<audio|>",
            audio_token_id="<|audio|>",
        ),
    ),
    lambda tokenizer: component(
        "Gemma4Processor",
        feature_extractor=component("Gemma4AudioFeatureExtractor"),
        image_processor=component("Gemma4ImageProcessor", patch_size=4, pooling_kernel_size=2, max_soft_tokens=140),
        tokenizer=tokenizer,
        video_processor=component("Gemma4VideoProcessor", patch_size=4, pooling_kernel_size=2),
        image_seq_length=140,
    ),
    tokens=(121, 130, 111),
    coarse={"max_soft_tokens": 70},
    coarse_tokens=(64, 63, 52),
)

paligemma = Family(
    Prompt(
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        named={"image_token": "<image>"},
        template="{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}{% if p.type == 'image' %}<image>{% endif %}{% endfor %}"
        "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}",
    ),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "gemma"},
        {**SIGLIP, "patch_size": 8, "projection_dim": HIDDEN},
        image_token_index=identifier(tokenizer, "<image>"),
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
    ),
    lambda tokenizer: component(
        "PaliGemmaProcessor",
        image_processor=component("SiglipImageProcessor", size=SQUARE, image_seq_length=16),
        tokenizer=tokenizer,
    ),
    tokens=(16, 16, 16),
    coarse={},
    coarse_tokens=(16, 16, 16),
)


FAMILIES = {"gemma3": gemma3, "gemma4": gemma4, "paligemma": paligemma}
