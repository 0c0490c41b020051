#!/usr/bin/env bash
# Two chat templates in one folder: the processor and the tokenizer each take another one.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3.
# Behaviour: a folder may hold both chat_template.jinja (new) and chat_template.json, for example one saved by transformers
#   5 over one saved by 4.x. The processor takes the .json, which the library itself names legacy, and the tokenizer the
#   .jinja. Neither warns.
# Why it surprises: one folder gives two prompts, depending on whether a program loads the processor (an evaluator) or
#   the tokenizer (a trainer, a text-only server).
# Whom it hurts: people who compare two tools on one checkpoint: accuracy differs and the folder is the same.
# Output seen:
#   processor: legacy
#   tokenizer: new
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6 2>/dev/null
PLACE=$place "$place/venv/bin/python" - <<'PY'
import json
import os
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.processing_utils import ProcessorMixin

folder = Path(os.environ["PLACE"]) / "checkpoint"
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
tokenizer.save_pretrained(folder)
(folder / "chat_template.jinja").write_text("new")
(folder / "chat_template.json").write_text(json.dumps({"chat_template": "legacy"}))

processor = ProcessorMixin.get_processor_dict(folder)[0]["chat_template"]
own = AutoTokenizer.from_pretrained(folder).chat_template
print(f"processor: {processor}\ntokenizer: {own}")
assert (processor, own) == ("legacy", "new")
PY
