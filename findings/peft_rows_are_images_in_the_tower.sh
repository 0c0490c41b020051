#!/usr/bin/env bash
# adapter_names= gives a question's second image the adapter of another question.
#
# Versions: peft 0.21.2, transformers 5.23.0, torch 2.13.0.
# Behaviour: forward(..., adapter_names=["a", "b"]) lets each row of a batch use a LoRA of its own. Each wrapped layer takes
#   the list for the rows of whatever tensor it gets. In the vision tower a row is an image, not a question. Where a batch
#   has as many images as questions, but not one each, the images take the adapters by their own order.
# Why it surprises: peft compares the two lengths and raises where they differ (Qwen's packed patches, tiled images), so
#   that a call that passes looks safe. The language model's part is right, and nothing is printed.
# Whom it hurts: whoever serves or evaluates several adapters in one batch, or routes only some questions to their images:
#   with two images for one question and none for the next, the second image is encoded by the next one's adapter.
#   Naming the language model in target_modules avoids it.
# Output seen (questions with 1 and 1, 2 and 0 images; difference from each question alone):
#   1 and 1: 0.00 and 0.00
#   2 and 0: 0.42 and 0.00
set -euo pipefail
place=$(mktemp -d) && trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 peft==0.21.2 2>/dev/null
"$place/venv/bin/python" -W ignore - <<'PY'
import torch
from peft import LoraConfig, get_peft_model
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

torch.manual_seed(0)
sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
tower = CLIPVisionConfig(**sizes, image_size=16, patch_size=8)
text = LlamaConfig(**sizes, vocab_size=64)
config = LlavaConfig(vision_config=tower, text_config=text, image_token_index=63, vision_feature_layer=-1)
model = LlavaForConditionalGeneration(config)
for weight in model.parameters():
    if weight.ndim >= 2:  # large enough for the image to reach the logits
        torch.nn.init.normal_(weight, std=(weight[0].numel() if weight.ndim == 4 else weight.shape[-1]) ** -0.5)
lora = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
model = get_peft_model(model, lora, adapter_name="a").eval()
model.add_adapter("b", lora)
pictures = list(torch.randn(2, 3, 16, 16))


def logits(counts, images, names):  # ten tokens a question, four of them for each image
    ids = torch.tensor([[63] * 4 * n + [5] * (10 - 4 * n) for n in counts])
    pixels = torch.stack(images) if images else None
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pixels, adapter_names=names).logits[:, -1]


def alone(name, images):
    model.set_adapter(name)
    return logits([len(images)], images, None)


gaps = {}
for first in (1, 2):
    both = logits([first, 2 - first], pictures, ["a", "b"])
    single = torch.cat([alone("a", pictures[:first]), alone("b", pictures[first:])])
    gaps[first] = (both - single).abs().amax(-1).tolist()
    print(f"{first} and {2 - first}: {gaps[first][0]:.2f} and {gaps[first][1]:.2f}")
assert max(gaps[1]) < 1e-4 and gaps[2][0] > 0.1 and gaps[2][1] < 1e-4
PY
