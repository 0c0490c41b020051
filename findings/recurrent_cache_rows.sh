#!/usr/bin/env bash
# Cache.batch_select_indices fails in models with recurrent layers, where Cache.reorder_cache picks the same rows.
#
# Versions: transformers 5.23.0, torch 2.13.0.
# Behaviour: a DynamicCache made for a hybrid model (Qwen3-Next, Qwen3.5, LFM2 …) holds LinearAttentionLayer objects.
#   Cache.batch_select_indices calls that method of every layer, and this kind has none: AttributeError. reorder_cache,
#   meant for beams, exists in every kind and takes an index of any length: it keeps some rows, in any order.
# Why it surprises: both are public methods of one class, and documentation and names say that the first is for this.
# Whom it hurts: whoever continues only some rows of a batch (routing, early exit, speculative decoding): code that was
#   written with full-attention models breaks with the first hybrid one, and there is a way without a special case.
# Output seen:
#   batch_select_indices: AttributeError
#   reorder_cache: 2 of 3 rows, keys equal True, recurrent states equal True
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 2>/dev/null

cat >"$place/rows.py" <<'PY'
import copy

import torch
from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

torch.manual_seed(0)
sizes = dict(hidden_size=32, intermediate_size=32, moe_intermediate_size=16, shared_expert_intermediate_size=16)
heads = dict(num_attention_heads=2, num_key_value_heads=1, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=2)
linear = dict(linear_key_head_dim=16, linear_value_head_dim=16, layer_types=["linear_attention", "full_attention"])
config = Qwen3NextConfig(
    vocab_size=64, num_hidden_layers=2, num_experts=2, num_experts_per_tok=1, **sizes, **heads, **linear
)
model = Qwen3NextForCausalLM(config).eval()
with torch.no_grad():
    cache = model(torch.arange(12).reshape(3, 4), use_cache=True).past_key_values
rows = torch.tensor([2, 0])
try:
    copy.deepcopy(cache).batch_select_indices(rows)
    print("batch_select_indices: works")
except AttributeError as error:
    print("batch_select_indices:", type(error).__name__)
some = copy.deepcopy(cache)
some.reorder_cache(rows)
keys, kept = cache.layers[1].keys, some.layers[1].keys


def states(layer):
    found = layer.recurrent_states
    return found[0] if isinstance(found, (list, dict)) else found


same = torch.equal(states(some.layers[0]), states(cache.layers[0])[rows])
print(f"reorder_cache: {len(kept)} of {len(keys)} rows, keys equal {torch.equal(kept, keys[rows])}, recurrent states equal {same}")
PY
said=$("$place/venv/bin/python" "$place/rows.py" 2>/dev/null)
echo "$said"
[ "$said" = "batch_select_indices: AttributeError
reorder_cache: 2 of 3 rows, keys equal True, recurrent states equal True" ]
