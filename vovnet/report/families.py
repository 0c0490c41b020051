"""The table of model families, on the terminal and as a page."""

import math
from collections.abc import Sequence

from rich.table import Table

from vovnet.report.table import PlainConsole
from vovnet.terminal import say
from vovnet.vlm.generic.probe import SHAPES, VERSION, Row, untried

SIZES = ", ".join(f"{width}x{height}" for width, height in SHAPES)
HEADER = (
    "model type", "runs", "COARSE tokens", "FULL tokens", "actions", "reuse exact", "batch", "gap", "resume", "pruning",
    "training", "needs",
)  # fmt: skip
PAGE = """# Families of vision-language models

Written by a probe, with transformers {version}:

```bash
python -m tests.families FOLDER
python -m experiments.families FOLDER --markdown experiments/families.md
```

The first command writes shrunken checkpoints with random weights; the second tries checkpoints of yours as well. \
{runs} of {all} run.

{table}

- **runs**: NO, COARSE and FULL were read in a batch of two, answered, and gave finite logits and NLL through the \
generic implementation (`backbone.implementation=generic`). *fast path* marks model types with an implementation of \
their own besides, which also prunes.
- **COARSE, FULL tokens**: of images of {sizes} pixels under `vision_budget=auto`, which lowers FULL to where the \
processor shrinks images anyway. Shrunken checkpoints have small processors: counts of published ones are larger.
- **actions**: three, or two where COARSE saves nothing (`policy.action_space=binary`).
- **reuse exact**: under `backbone.prompt_order=text_first` an image continues the cache of its question, with the \
largest difference of logits in their standard deviations; above 1e-3 (float32) reuse is off. A dash: prompts with and \
without image begin differently in tokens, so nothing is shared.
- **batch, gap, resume**: exact for prompts of several lengths together; with padding between a shared text and an \
image; for an answer that continues a cache. Where one is not exact, a slower way is taken.
- **training**: a gradient of the reference's NLL reaches the language model.
- **needs**: packages of `pip install 'vovnet[families]'` without which the processor does not load.
- Random weights show that inputs, caches and masks are right; they say nothing about answers, speed or half precision.

## Other model types

Of `AutoModelForImageTextToText`; `backbone=folder backbone.path=FOLDER` tries any of them.

{others}
"""


def print_families(rows: Sequence[Row]) -> None:
    """Print the table, and why some do not run."""
    table = Table(*HEADER)
    for row in rows:
        table.add_row(*cells(row))
    PlainConsole().print(table)
    for row in rows:
        if row.reason:
            say(f"{label(row)}: {row.reason}")
    for model_type, why in untried(rows):
        say(f"not tried: {model_type}: {why}")


def page(rows: Sequence[Row]) -> str:
    """The page as Markdown."""
    runs = sum(not row.reason for row in rows)
    table = _markdown(HEADER, [[*cells(row)[:1], row.reason or cells(row)[1], *cells(row)[2:]] for row in rows])
    others = _markdown(("model type", "why it was not tried"), untried(rows))
    return PAGE.format(version=VERSION, runs=runs, all=len(rows), table=table, sizes=SIZES, others=others)


def cells(row: Row) -> list[str]:
    """As the table shows a row; what the header names."""
    if row.reason:
        return [label(row), "no", *[""] * 9, row.needs]
    exact = "—" if row.reuse is None else _yes(row.reuse)
    if not math.isnan(row.difference):
        exact += f" ({row.difference:.0e})"
    runs = "yes, fast path" if row.fast else "yes"
    return [
        label(row), runs, _counts(row.coarse), _counts(row.full), str(row.actions), exact,
        *map(_yes, (row.batch, row.gap, row.resume, row.prune, row.train)), row.needs,
    ]  # fmt: skip


def label(row: Row) -> str:
    """The model type, and the folder's name where it says more."""
    return row.model_type if row.model_type == row.name else f"{row.model_type} ({row.name})"


def _counts(tokens: Sequence[int]) -> str:
    return ", ".join(map(str, tokens))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
