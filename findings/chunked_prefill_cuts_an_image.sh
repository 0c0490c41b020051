#!/usr/bin/env bash
# generate(prefill_chunk_size=...) changes what Gemma 3 sees when a chunk ends inside an image.
#
# Versions: transformers 5.23.0, torch 2.13.0.
# Behaviour: Gemma's image tokens attend to each other both ways. A chunk is one forward call with a cache, and the image
#   tokens of a later chunk do not exist yet when those of an earlier one are read. Where the boundary falls before or
#   after an image the result is exact; inside an image it is not. Nothing is printed. Gemma 4 and PaliGemma do the same.
# Why it surprises: the option is there to save memory and is exact, to rounding, in causal families (Qwen, InternVL,
#   LLaVA, GLM, LFM, Mistral, Kimi). Whether it is exact here depends on the length of the text before the image.
# Whom it hurts: people who read long prompts, with several images, in chunks: a chunk of 256 nearly always ends inside one
#   of Gemma 3's images of 256 tokens, and evaluations with and without the option cannot be compared.
# Output seen (logits have a standard deviation of 1; the image takes the tokens 2 to 17 of 28):
#   chunk 28: largest difference 0.00
#   chunk 18: largest difference 0.00
#   chunk 16: largest difference 0.07
#   chunk 8: largest difference 0.10
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 2>/dev/null
"$place/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

torch.manual_seed(0)
sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
text = {**sizes, "vocab_size": 64, "num_key_value_heads": 2, "head_dim": 32}
marks = {"boi_token_index": 60, "eoi_token_index": 61, "image_token_index": 62}
vision = {**sizes, "image_size": 32, "patch_size": 4}
config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=16, **marks)
model = Gemma3ForConditionalGeneration(config).eval()
for weight in model.parameters():
    if weight.ndim >= 2:  # large enough for the image to reach the logits
        torch.nn.init.normal_(weight, std=(weight[0].numel() if weight.ndim == 4 else weight.shape[-1]) ** -0.5)

ids = torch.tensor([[2, 60, *[62] * 16, 61, *range(3, 12)]])
inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": (ids == 62).long()}
pixels = torch.randn(1, 3, 32, 32)
keys = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True}


def logits(**chunk):
    return model.generate(**inputs, pixel_values=pixels, **keys, **chunk).logits[0]


far = {size: float((logits(prefill_chunk_size=size) - logits()).abs().max()) for size in (28, 18, 16, 8)}
for size, gap in far.items():
    print(f"chunk {size}: largest difference {gap:.2f}")
assert max(far[28], far[18]) < 1e-4 and min(far[16], far[8]) > 0.05
PY
