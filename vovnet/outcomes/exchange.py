"""What was done to samples, from one process to another through a file of arrays."""

import io
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.files import write_bytes
from vovnet.outcomes.routed import Earlier, Routed
from vovnet.outcomes.rows import BranchOutcomes

TEXTS = "|texts"  # ends the name of a column of texts, which are written as JSON in UTF-8
PLAIN = ("actions", "cost", "values", "entropy", "margin", "text_tokens", "fallback", "preparing")


def write_routed(path: Path, routed: Routed, memory_mb: float) -> None:
    """Write a file that holds arrays only; hidden states stay behind."""
    found = {name: getattr(routed, name) for name in PLAIN} | {
        "memory_mb": np.array(memory_mb),
        "menu": np.array([look.content for look in routed.menu], dtype=object),
    }
    found |= _named("chosen", routed.chosen)
    for number, one in enumerate(routed.earlier):
        found |= {f"earlier{number}.rows": one.rows} | _named(f"earlier{number}", one.outcomes)
    buffer = io.BytesIO()
    columns: dict[str, Any] = dict(_encoded(name, column) for name, column in found.items() if column is not None)
    np.savez(buffer, **columns)
    write_bytes(path, buffer.getvalue())


def read_routed(path: Path) -> tuple[Routed, float]:
    """The same back, and the peak memory in MB."""
    with np.load(path, allow_pickle=False) as content:
        found = dict(_decoded(name, content[name]) for name in content.files)
    earlier, number = list[Earlier](), 0
    while f"earlier{number}.rows" in found:
        earlier.append(Earlier(found[f"earlier{number}.rows"], _outcomes(f"earlier{number}", found)))
        number += 1
    plain: dict[str, Any] = {name: found.get(name) for name in PLAIN}
    menu = tuple(Action.said(content) for content in found["menu"])
    routed = Routed(chosen=_outcomes("chosen", found), earlier=tuple(earlier), menu=menu, **plain)
    return routed, float(found["memory_mb"])


def _named(prefix: str, outcomes: BranchOutcomes) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": column for name, column in outcomes.columns().items()}


def _outcomes(prefix: str, found: Mapping[str, np.ndarray]) -> BranchOutcomes:
    names = (f.name for f in fields(BranchOutcomes))
    own: dict[str, Any] = {name: found[f"{prefix}.{name}"] for name in names if f"{prefix}.{name}" in found}
    return BranchOutcomes(**own)


def _encoded(name: str, column: np.ndarray) -> tuple[str, np.ndarray]:
    if column.dtype != object:
        return name, column
    return name + TEXTS, np.frombuffer(json.dumps(column.tolist()).encode(), np.uint8)


def _decoded(name: str, column: np.ndarray) -> tuple[str, np.ndarray]:
    if not name.endswith(TEXTS):
        return name, column
    return name.removesuffix(TEXTS), np.array(json.loads(column.tobytes()), dtype=object)
