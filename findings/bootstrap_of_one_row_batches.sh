#!/usr/bin/env bash
# BootStrapper(sampling_strategy="multinomial") gives a standard error of 0 when a metric is updated row by row.
#
# Versions: torchmetrics 1.9.0, torch 2.13.0.
# Behaviour: the wrapper draws rows anew inside every update, as many as the update has. With one row per update each
#   copy draws that row, all copies are equal, and the spread between them is exactly 0. Between updates nothing is drawn.
# Why it surprises: the mean does not depend on how rows are batched, and other metrics of the library do not either. The
#   documentation offers both strategies as alternatives; only "poisson" (the default) gives the same error at any size.
# Whom it hurts: vision-language models are often evaluated with batches of one, since images differ in size: the table
#   then shows a score with an error of 0. Batches that hold one stratum each are concerned in the same way: whatever
#   differs between batches is left out of the error.
# Output seen:
#   binomial: 0.025
#   one batch of 400: 0.026
#   batches of 20, in order: 0.024
#   batches of 20, sorted by outcome: 0.000
#   batches of 1: 0.000
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 torchmetrics==1.9.0 2>/dev/null
said=$("$place/venv/bin/python" -W ignore - <<'PY'
import torch
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.wrappers import BootStrapper

torch.manual_seed(0)
right = torch.randperm(400) % 2


def error(rows, size):
    metric = BootStrapper(BinaryAccuracy(), num_bootstraps=100, sampling_strategy="multinomial", std=True)
    for batch in rows.split(size):
        metric.update(batch, torch.ones_like(batch))
    return f"{metric.compute()['std']:.3f}"


print(f"binomial: {0.5 / 400**0.5:.3f}")
print("one batch of 400:", error(right, 400))
print("batches of 20, in order:", error(right, 20))
print("batches of 20, sorted by outcome:", error(right.sort().values, 20))
print("batches of 1:", error(right, 1))
PY
)
echo "$said"
[ "$(echo "$said" | tail -1)" = "batches of 1: 0.000" ] && ! echo "$said" | grep -q "of 400: 0.000"
