#!/usr/bin/env bash
# FlopCounterMode counts fused attention on a CPU, and the grouped product of experts anywhere, as zero operations.
#
# Versions: torch 2.13.0.
# Behaviour: torch.utils.flop_counter.FlopCounterMode has formulas for the attention kernels of GPUs and for the plain
#   decomposition, none for the kernel that scaled_dot_product_attention takes on a CPU, and none for grouped_mm.
#   An operator without a formula adds 0. Nothing is printed.
# Why it surprises: on the meta device, and written as two products, the same attention has its full count; the linear
#   layers around it are right on every device, so that a total looks plausible.
# Whom it hurts: whoever prices an image in operations on a CPU: the quadratic share, which grows fastest with vision
#   tokens, is missing, so a high resolution looks cheaper than it is. In a mixture of experts the experts are free.
# Output seen:
#   attention of 576 tokens, 8 heads of 64: expected 679,477,248
#     two products on a CPU: 679,477,248
#     fused on a CPU: 0
#     fused on the meta device: 679,477,248
#   four experts, 576 tokens, 512 to 1024: expected 603,979,776
#     one product per expert: 603,979,776
#     grouped_mm: 0
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 2>/dev/null
said=$("$place/venv/bin/python" -W ignore - <<'PY'
import torch
from torch.nn.functional import grouped_mm, scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode


def count(work):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return f"{counter.get_total_flops():,}"


def states(device):
    return torch.ones(1, 8, 576, 64, device=device)


q, meta = states("cpu"), states("meta")
print(f"attention of 576 tokens, 8 heads of 64: expected {2 * 2 * 8 * 576**2 * 64:,}")
print("  two products on a CPU:", count(lambda: (q @ q.mT).softmax(-1) @ q))
print("  fused on a CPU:", count(lambda: scaled_dot_product_attention(q, q, q)))
print("  fused on the meta device:", count(lambda: scaled_dot_product_attention(meta, meta, meta)))

x, experts = torch.ones(576, 512, dtype=torch.bfloat16), torch.ones(4, 512, 1024, dtype=torch.bfloat16)
ends = torch.tensor([144, 288, 432, 576], dtype=torch.int32)
print(f"four experts, 576 tokens, 512 to 1024: expected {2 * 576 * 512 * 1024:,}")
print("  one product per expert:", count(lambda: [a @ b for a, b in zip(x.split(144), experts)]))
print("  grouped_mm:", count(lambda: grouped_mm(x, experts, offs=ends)))
PY
)
echo "$said"
[ "$(echo "$said" | sed 's/.*: //' | tr '\n' ' ')" = \
  "expected 679,477,248 679,477,248 0 679,477,248 expected 603,979,776 603,979,776 0 " ]
