"""Families that cut an image into tiles for a tower of a fixed size: InternVL, LLaVA, SmolVLM, Idefics 3."""

from typing import Any

from tests.families.family import VISION, Config, Family, component, identifier, model
from tests.families.tokenizers import CHATML, Prompt, chat, chatml

TILE = {"height": 32, "width": 32}
CLIP = {**VISION, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 16, "projection_dim": 32}
SIGLIP = {**VISION, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 16}
CROP = {"size": {"shortest_edge": 32}, "crop_size": TILE}
NEXT_GRID = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]
ONEVISION_GRID = [[32 * rows, 32 * columns] for rows in range(1, 4) for columns in range(1, 4)]
SPLITS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))


INTERNVL = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
internvl = Family(
    Prompt(**CHATML, named={**INTERNVL, "video_token": "<video>"}, template=chatml("<IMG_CONTEXT>\n")),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "qwen3"},
        {**VISION, "image_size": [64, 64], "patch_size": [16, 16]},
        image_token_id=identifier(tokenizer, "<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    ),
    lambda tokenizer: component(
        "InternVLProcessor",
        image_processor=component("GotOcr2ImageProcessor", size={"height": 64, "width": 64}, max_patches=6),
        tokenizer=tokenizer,
        video_processor=component("InternVLVideoProcessor", size={"height": 64, "width": 64}),
        image_seq_length=4,
    ),
    tokens=(4, 28, 28),
    coarse={"crop_to_patches": False},
    coarse_tokens=(4, 4, 4),
)

VICUNA = chat("{role}: ", " ", "ASSISTANT:", "<image>\n", images_first=True, strings=False).replace(
    "m.role", "m.role | upper"
)
llava = Family(
    Prompt(bos="<s>", adds_bos=True, eos="</s>", pad="<pad>", named={"image_token": "<image>"}, template=VICUNA),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "llama"},
        {**CLIP, "patch_size": 8},
        image_token_index=identifier(tokenizer, "<image>"),
        image_seq_length=16,
    ),
    lambda tokenizer: component(
        "LlavaProcessor",
        image_processor=component("CLIPImageProcessor", **CROP),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ),
    tokens=(16, 16, 16),
    coarse={},
    coarse_tokens=(16, 16, 16),
)

INSTRUCT = chat("[INST] ", " [/INST]", "", "<image>\n", images_first=True, strings=False)
llava_next = Family(
    Prompt(bos="<s>", adds_bos=True, eos="</s>", pad="<pad>", named={"image_token": "<image>"}, template=INSTRUCT),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "mistral", "sliding_window": None},
        CLIP,
        image_token_index=identifier(tokenizer, "<image>"),
        image_grid_pinpoints=NEXT_GRID,
        image_seq_length=4,
    ),
    lambda tokenizer: component(
        "LlavaNextProcessor",
        image_processor=component("LlavaNextImageProcessor", image_grid_pinpoints=NEXT_GRID, **CROP),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ),
    tokens=(24, 24, 4),
    coarse={},
    coarse_tokens=(24, 24, 4),
)

llava_onevision = Family(
    Prompt(
        **CHATML,
        named={"image_token": "<image>", "video_token": "<video>"},
        template=chat("<|im_start|>{role} ", "<|im_end|>", "<|im_start|>assistant\n", "<image>\n", images_first=True),
    ),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "qwen2"},
        {**SIGLIP, "vision_use_head": False},
        image_token_index=identifier(tokenizer, "<image>"),
        video_token_index=identifier(tokenizer, "<video>"),
        image_grid_pinpoints=ONEVISION_GRID,
    ),
    lambda tokenizer: component(
        "LlavaOnevisionProcessor",
        image_processor=component("LlavaOnevisionImageProcessor", size=TILE, image_grid_pinpoints=ONEVISION_GRID),
        tokenizer=tokenizer,
        video_processor=component("LlavaOnevisionVideoProcessor", size=TILE),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
    ),
    tokens=(24, 32, 4),
    coarse={},
    coarse_tokens=(24, 32, 4),
)


def hugging_face(head: str, bos: str, name: str, extra: Config, **keys: Any) -> Family:
    """Idefics 3 and SmolVLM: an image is enlarged to whole tiles, each with its own markers."""
    marks = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *SPLITS)
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    template = chat("{role}: ", "<end_of_utterance>\n", "Assistant:", "<image>", head=head, strings=False)
    return Family(
        Prompt(
            bos=bos,
            eos="<end_of_utterance>",
            pad="<|pad|>",
            others=marks,
            template=template.replace("m.role", "m.role | capitalize"),
            **keys,
        ),
        lambda tokenizer: model(
            tokenizer,
            {"model_type": "llama"},
            {**VISION, "image_size": 32, "patch_size": 8},
            image_token_id=identifier(tokenizer, "<image>"),
            scale_factor=2,
        ),
        lambda tokenizer: component(
            f"{name}Processor",
            image_processor=component(f"{name}ImageProcessor", **sizes),
            tokenizer=tokenizer,
            image_seq_len=4,
            **{key: component(value, size=sizes["max_image_size"]) for key, value in extra.items()},
        ),
        tokens=(20, 20, 12),
        coarse={"do_image_splitting": False},
        coarse_tokens=(4, 4, 4),
    )


FAMILIES = {
    "internvl": internvl,
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "smolvlm": hugging_face("<|im_start|>", "<|im_start|>", "SmolVLM", {"video_processor": "SmolVLMVideoProcessor"}),
    "idefics3": hugging_face("{{ bos_token }}", "<|begin_of_text|>", "Idefics3", {}, adds_bos=True),
}
