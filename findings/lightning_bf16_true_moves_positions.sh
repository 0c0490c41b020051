#!/usr/bin/env bash
# Lightning's precision="bf16-true" rounds the rotary frequencies, which from_pretrained(dtype=bfloat16) leaves alone.
#
# Versions: lightning 2.6.6, transformers 5.23.0, torch 2.13.0.
# Behaviour: bf16-true casts a module with Module.to, buffers included. The frequencies of the rotary embedding are a
#   buffer; transformers keeps it in float32 whatever dtype a checkpoint is loaded in. Rounded, they are off by up to
#   0.3 per cent, so that the angle at position 8,000 is off by up to 3.5 radians. model.bfloat16() does the same.
# Why it surprises: two usual ways to "load in bfloat16" give models whose parameters are equal bit by bit, and state_dict
#   does not hold the buffer, so that comparing or saving the two shows no difference.
# Whom it hurts: a model that is trained or evaluated in Lightning and served by transformers has other positions in each.
#   It grows with position: high-resolution images take thousands of tokens. Load the weights in bfloat16 and let the
#   Trainer have precision=None ("32-true") to keep the frequencies.
# Output seen:
#   parameters equal: True
#   frequencies: torch.float32 loaded, torch.bfloat16 in Lightning
#   largest error of an angle at position 8000: 3.5 rad
#   error against float32 at position 8000: 0.01 loaded, 0.15 in Lightning
set -euo pipefail
place=$(mktemp -d) && trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 lightning==2.6.6 2>/dev/null
PLACE=$place "$place/venv/bin/python" -W ignore - 2>/dev/null <<'PY'
import os

import lightning as L
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

torch.manual_seed(0)
folder = os.environ["PLACE"] + "/checkpoint"
sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.12}
exact = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=1, num_key_value_heads=1)).eval()
exact.save_pretrained(folder)
ids = torch.randint(64, (1, 8001))


class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Qwen2ForCausalLM.from_pretrained(folder)

    def predict_step(self, batch, batch_idx):
        return self.model(ids, logits_to_keep=1).logits


module, off = Module(), {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
trainer = L.Trainer(accelerator="cpu", precision="bf16-true", **off)
cast = trainer.predict(module, torch.utils.data.DataLoader(range(1)))[0].float()
loaded = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
print("parameters equal:", all(map(torch.equal, loaded.parameters(), module.model.parameters())))
right, rounded = (model.model.rotary_emb.inv_freq for model in (loaded, module.model))
print(f"frequencies: {right.dtype} loaded, {rounded.dtype} in Lightning")
print(f"largest error of an angle at position 8000: {float((right - rounded.float()).abs().max()) * 8000:.1f} rad")
with torch.no_grad():
    true, plain = (model(ids, logits_to_keep=1).logits.float() for model in (exact, loaded))
near, far = (float((x - true).abs().max()) for x in (plain, cast))
print(f"error against float32 at position 8000: {near:.2f} loaded, {far:.2f} in Lightning")
assert right.dtype == torch.float32 and rounded.dtype == torch.bfloat16 and far > 1.5 * near
PY
