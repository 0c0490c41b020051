"""Families beyond those that are named elsewhere: Cohere's two, Ovis 2, DeepSeek-VL."""

from tests.families.cropped import TILE
from tests.families.family import HIDDEN, VISION, Config, Family, component, identifier, model
from tests.families.gemma import SIGLIP, SLIDING, SQUARE
from tests.families.tokenizers import CHATML, Prompt, chat, chatml

COHERE: Config = {"model_type": "cohere2", "logit_scale": 1.0, **SLIDING}
TURNS = ("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>")
ROLES = (
    "{% if m.role == 'user' %}<|USER_TOKEN|>{% elif m.role == 'system' %}<|SYSTEM_TOKEN|>"
    "{% else %}<|CHATBOT_TOKEN|>{% endif %}"
)


def cohere(image: str, marks: tuple[str, ...], named: Config) -> Prompt:
    """Aya Vision's and Command A Vision's prompt."""
    return Prompt(
        bos="<BOS_TOKEN>",
        adds_bos=True,
        eos="<|END_OF_TURN_TOKEN|>",
        pad="<PAD>",
        named=named,
        others=(*TURNS, *marks),
        template=chat(
            "<|START_OF_TURN_TOKEN|>" + ROLES,
            "<|END_OF_TURN_TOKEN|>",
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
            image,
            head="{{ bos_token }}",
        ),
    )


COHERE_MARKS = {
    "boi_token": "<|START_OF_IMG|>",
    "eoi_token": "<|END_OF_IMG|>",
    "image_token": "<|IMG_PATCH|>",
    "img_line_break_token": "<|IMG_LINE_BREAK|>",
}
cohere2_vision = Family(
    cohere("<|IMG_PATCH|>", (), COHERE_MARKS),
    lambda tokenizer: model(
        tokenizer,
        COHERE,
        {**SIGLIP, "image_size": 64, "patch_size": 16},
        image_token_id=identifier(tokenizer, "<|IMG_PATCH|>"),
        alignment_intermediate_size=96,
    ),
    lambda tokenizer: component(
        "Cohere2VisionProcessor",
        # `patch_size` is the side of a tile's grid of tokens here.
        image_processor=component("Cohere2VisionImageProcessor", size=TILE, patch_size=2, max_patches=6),
        tokenizer=tokenizer,
    ),
    tokens=(4, 20, 20),
    coarse={"crop_to_patches": False},
    coarse_tokens=(4, 4, 4),
)

AYA_TILES = ("TILE_GLOBAL", *(f"TILE_{tile}" for tile in range(1, 7)))
aya_vision = Family(
    cohere("<image>", ("<image>", *COHERE_MARKS.values(), *AYA_TILES), {}),
    lambda tokenizer: model(
        tokenizer,
        COHERE,
        {**SIGLIP, "image_size": 64, "patch_size": 16},
        image_token_index=identifier(tokenizer, "<|IMG_PATCH|>"),
    ),
    lambda tokenizer: component(
        "AyaVisionProcessor",
        image_processor=component("GotOcr2ImageProcessor", size=TILE, max_patches=6),
        tokenizer=tokenizer,
        patch_size=16,
        img_size=64,
        downsample_factor=2,
    ),
    tokens=(4, 28, 28),
    coarse={"crop_to_patches": False},
    coarse_tokens=(4, 4, 4),
)

INDICATORS = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
ovis2 = Family(
    Prompt(
        eos=CHATML["eos"],
        pad=CHATML["pad"],
        others=("<|im_start|>", "<image>", "<IMG_ATOM>", *INDICATORS),
        template=chatml("<image>\n"),
    ),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "qwen2"},
        {**VISION, "image_size": 64, "patch_size": 16, "hidden_stride": 2, "vocab_size": 48},
        image_token_id=identifier(tokenizer, "<IMG_ATOM>"),
        visual_indicator_token_ids=[identifier(tokenizer, mark) for mark in INDICATORS],
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
    ),
    lambda tokenizer: component(
        "Ovis2Processor",
        image_processor=component("Ovis2ImageProcessor", size=TILE, crop_to_patches=True, max_patches=6),
        tokenizer=tokenizer,
        image_seq_length=4,
    ),
    tokens=(4, 20, 16),
    coarse={"crop_to_patches": False},
    coarse_tokens=(4, 4, 4),
)

deepseek_vl = Family(
    Prompt(
        bos="<|begin_of_sentence|>",
        adds_bos=True,
        eos="<|end_of_sentence|>",
        pad="<pad>",
        named={"image_token": "<image_placeholder>"},
        template=chat("{role}: ", "{{ '\n\n' }}", "Assistant:", "<image_placeholder>").replace(
            "m.role", "m.role | capitalize"
        ),
    ),
    lambda tokenizer: model(
        tokenizer,
        {"model_type": "llama"},
        {**SIGLIP, "patch_size": 8},
        image_token_id=identifier(tokenizer, "<image_placeholder>"),
    ),
    lambda tokenizer: component(
        "DeepseekVLProcessor",
        image_processor=component("DeepseekVLImageProcessor", size=SQUARE),
        tokenizer=tokenizer,
        num_image_tokens=16,
    ),
    tokens=(16, 16, 16),
    coarse={},
    coarse_tokens=(16, 16, 16),
)

FAMILIES = {
    "cohere2_vision": cohere2_vision,
    "aya_vision": aya_vision,
    "ovis2": ovis2,
    "deepseek_vl": deepseek_vl,
}
