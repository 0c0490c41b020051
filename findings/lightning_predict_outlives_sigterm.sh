#!/usr/bin/env bash
# Trainer.predict goes on to its last batch after SIGTERM, and the process ends with status 0.
#
# Versions: lightning 2.6.6, torch 2.13.0.
# Behaviour: Lightning puts a SIGTERM handler of its own in place while a Trainer runs. It notes the signal, and the loops
#   of fit, validate and test look at the note after each batch and stop. The loop of predict never looks.
# Why it surprises: without Lightning the same signal ends the process at once, with status 143, and the other three
#   entry points of the Trainer stop. Nobody has set a handler, and nothing is printed about it.
# Whom it hurts: whoever predicts for hours on a cluster or in a container: the grace period passes and the process is
#   killed with what it has not written. Scripts take status 0 for a stop that was obeyed. Putting the former handler back
#   in a callback's on_predict_start restores the usual end.
# Output seen:
#   without Lightning: status 143
#   Trainer.predict: 10 of 10 batches, 8 of them after SIGTERM, status 0
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q torch==2.13.0 lightning==2.6.6 2>/dev/null

cat >"$place/predict.py" <<'PY'
import os
import signal

import lightning as L
import torch

done = []


class Module(L.LightningModule):
    def predict_step(self, batch, batch_idx):
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(batch_idx)
        return batch


trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.predict(Module(), torch.utils.data.DataLoader(range(10)))
print(f"{len(done)} of 10 batches, {sum(i > 1 for i in done)} of them after SIGTERM", end="")
PY

status=0
python3 -c 'import os, signal; os.kill(os.getpid(), signal.SIGTERM)' || status=$?
echo "without Lightning: status $status"
status=0
said=$("$place/venv/bin/python" "$place/predict.py" 2>/dev/null) || status=$?
echo "Trainer.predict: $said, status $status"
[ "$said" = "10 of 10 batches, 8 of them after SIGTERM" ] && [ "$status" = 0 ]
