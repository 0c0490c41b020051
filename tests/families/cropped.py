"""An overview beside crops, or cross-attention: MiniCPM-V, Molmo 2, Llama 4, Llama 3.2 Vision (Mllama)."""

from typing import Any

from tests.families.family import HIDDEN, VISION, Config, Family, component, identifier, identifiers, model
from tests.families.qwen import LINEAR, PARTIAL
from tests.families.tokenizers import CHATML, Prompt, chat, chatml

SQUARE = {"height": 32, "width": 32}
TILE = {"height": 64, "width": 64}


def minicpm(version: str, marks: Config) -> Family:
    """MiniCPM-V 4.6 and 4.7: an overview, then slices of a large image; Qwen3.5's decoder."""
    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    }
    name = f"MiniCPMV4_{version}"
    sizes = {"patch_size": 4, "scale_resolution": 64, "max_slice_nums": 4}
    return Family(
        Prompt(**CHATML, named=named, template=chatml("<|image_pad|>\n")),
        lambda tokenizer: model(
            tokenizer,
            {"model_type": "qwen3_5_text", **LINEAR, **PARTIAL},
            {**VISION, "patch_size": 4, "image_size": 64},
            insert_layer_id=0,
            image_size=64,
            **identifiers(tokenizer, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>", **marks),
        ),
        lambda tokenizer: component(
            f"{name}Processor",
            image_processor=component("MiniCPMV4_6ImageProcessor", **sizes),
            tokenizer=tokenizer,
            video_processor=component("MiniCPMV4_6VideoProcessor", **sizes),
        ),
        tokens=(16, 75, 12),
        coarse={"max_slice_nums": 1, "scale_resolution": 32},
        coarse_tokens=(4, 4, 6),
    )


SLICES = {
    "image_start_id": "<image>",
    "image_end_id": "</image>",
    "slice_start_id": "<slice>",
    "slice_end_id": "</slice>",
}

MOLMO_MARKS = ("<im_start>", "<im_end>", "<im_patch>", "<im_col>", "<low_res_im_start>", "<|image|>", "<im_low>")
FRAMES = ("<frame_start>", "<frame_end>", "<|video|>")
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}


def molmo_config(tokenizer: Any) -> Config:
    words = identifier(tokenizer, "<im_start>")  # images' tokens have embeddings but no logits
    return {
        **model(
            tokenizer,
            {"vocab_size": words, "additional_vocab_size": 16},
            {**VISION, **ATTENTION, "image_size": [32, 32], "patch_size": 4},
        ),
        "adapter_config": {
            **ATTENTION,
            "hidden_size": 32,
            "intermediate_size": 48,
            "text_hidden_size": HIDDEN,
            "vision_feature_layer": [-1, -2],
        },
        **identifiers(
            tokenizer,
            image_start_token_id="<im_start>",
            low_res_image_start_token_id="<low_res_im_start>",
            image_end_token_id="<im_end>",
            image_patch_id="<im_patch>",
            frame_start_token_id="<frame_start>",
            frame_end_token_id="<frame_end>",
        ),
    }


molmo2 = Family(
    Prompt(
        eos="<|im_end|>",
        pad="<|endoftext|>",
        bos="<|im_end|>",
        others=("<|im_start|>", *MOLMO_MARKS, *FRAMES),
        template=chatml("<|image|>"),
    ),
    molmo_config,
    lambda tokenizer: component(
        "Molmo2Processor",
        image_processor=component(
            "Molmo2ImageProcessor", size=SQUARE, patch_size=4, overlap_margins=[1, 1], max_crops=4
        ),
        tokenizer=tokenizer,
        video_processor=component("Molmo2VideoProcessor", size=SQUARE, patch_size=4),
    ),
    tokens=(65, 65, 68),
    coarse={"max_crops": 1},
    coarse_tokens=(32, 32, 32),
)

LLAMA4_MARKS = (
    "<|image|>",
    "<|patch|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
)
llama4 = Family(
    Prompt(
        bos="<|begin_of_text|>",
        adds_bos=True,
        eos="<|eot|>",
        pad="<|finetune_right_pad|>",
        others=("<|header_start|>", "<|header_end|>", *LLAMA4_MARKS),
        template=chat(
            "<|header_start|>{role}<|header_end|>\n\n",
            "<|eot|>",
            "<|header_start|>assistant<|header_end|>\n\n",
            "<|image|>",
            head="{{ bos_token }}",
        ),
    ),
    lambda tokenizer: model(
        tokenizer,
        {"num_hidden_layers": 4, "attention_chunk_size": 32, "num_local_experts": 2, "intermediate_size_mlp": 96},
        {
            **VISION,
            "intermediate_size": 128,
            "image_size": 64,
            "patch_size": 16,
            "vision_output_dim": HIDDEN,
            "projector_input_dim": HIDDEN,
            "projector_output_dim": HIDDEN,
        },
        **identifiers(
            tokenizer, boi_token_index="<|image_start|>", eoi_token_index="<|image_end|>", image_token_index="<|patch|>"
        ),
    ),
    lambda tokenizer: component(
        "Llama4Processor",
        image_processor=component("Llama4ImageProcessor", size=TILE, max_patches=4),
        tokenizer=tokenizer,
        patch_size=16,
    ),
    tokens=(4, 20, 20),
    coarse={"max_patches": 1},
    coarse_tokens=(4, 4, 4),
)


def mllama_config(tokenizer: Any) -> Config:
    image = identifier(tokenizer, "<|image|>")  # the last one: it has an embedding but no logit
    return model(
        tokenizer,
        {"num_hidden_layers": 4, "cross_attention_layers": [1, 3], "vocab_size": image},
        {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
        },
        image_token_index=image,
    )


mllama = Family(
    Prompt(
        bos="<|begin_of_text|>",
        adds_bos=True,
        eos="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
        others=("<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|image|>"),
        template=chat(
            "<|start_header_id|>{role}<|end_header_id|>\n\n",
            "<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|image|>",
            head="{{ bos_token }}",
        ),
    ),
    mllama_config,
    lambda tokenizer: component(
        "MllamaProcessor", image_processor=component("MllamaImageProcessor", size=SQUARE), tokenizer=tokenizer
    ),
    tokens=(1, 1, 1),
    coarse={},
    coarse_tokens=(1, 1, 1),
)

FAMILIES = {
    "minicpmv4_6": minicpm("6", {}),
    "minicpmv4_7": minicpm("7", SLICES),
    "molmo2": molmo2,
    "llama4": llama4,
    "mllama": mllama,
}
