#!/usr/bin/env bash
# A model loaded with key_mapping= is saved under names that hold a piece of the pattern.
#
# Versions: transformers 5.23.0, torch 2.13.0, safetensors 0.8.0.
# Behaviour: from_pretrained(folder, key_mapping={pattern: replacement}) renames the weights of an older file while it
#   loads them. A later save_pretrained of that model applies the mapping backwards and writes the pattern's own text.
# Why it surprises: key_mapping is an argument of one load. The model in memory is right, and only its saved copy is not.
#   Neither call warns; loading the copy draws every renamed weight at random, with a report of missing keys.
# Whom it hurts: people who bring an older checkpoint up to date by loading it with key_mapping and saving it again.
# Output seen:
#   loaded: 0 missing, 0 unexpected
#   saved as: ?backbone.embed_tokens.weight
#   the copy: 14 missing
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 safetensors==0.8.0 2>/dev/null
PLACE=$place "$place/venv/bin/python" 2>/dev/null - <<'PY'
import os
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

place = Path(os.environ["PLACE"])
older, copy = place / "older", place / "copy"
sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=2)).save_pretrained(older)
weights = load_file(older / "model.safetensors")
renamed = {name.replace("model.", "backbone.", 1): tensor for name, tensor in weights.items()}
save_file(renamed, older / "model.safetensors", {"format": "pt"})

mapping = {r"^(?:old_)?backbone\.": "model."}
model, info = Qwen2ForCausalLM.from_pretrained(older, key_mapping=mapping, output_loading_info=True)
print(f"loaded: {len(info['missing_keys'])} missing, {len(info['unexpected_keys'])} unexpected")
assert not info["missing_keys"]
model.save_pretrained(copy)
first = min(load_file(copy / "model.safetensors"))
print(f"saved as: {first}")
_, info = Qwen2ForCausalLM.from_pretrained(copy, output_loading_info=True)
print(f"the copy: {len(info['missing_keys'])} missing")
assert first.startswith("?") and len(info["missing_keys"]) == 14
PY
