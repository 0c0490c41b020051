"""Filling the outcome store without deciding anything, scoring what it holds again, and a summary of both."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vovnet.data import load_dataset
from vovnet.files import write_json, write_text
from vovnet.outcomes.load import collect_outcomes
from vovnet.outcomes.rescore import Rescored
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.setting import asked_of
from vovnet.results.write import json_line, without_formulas, write_rows
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.facts import vlm_facts
from vovnet.vlm.files import find_checkpoint


def collect(config: RunConfig, folder: Path, session: Session) -> dict[str, Any]:
    """Collect a split, or ``eval.shard`` of it, and write ``summary.json``.

    VoVNet's branches are its menu's, so that no policy need be trained yet; a baseline's are its own.
    """
    begun = time.monotonic()
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    computed = collect_outcomes(asked_of(config, session), checkpoint, dataset, count, session)
    summary = {
        "config": asdict(config),
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "backbone": {"folder": str(checkpoint.folder), "fingerprint": checkpoint.fingerprint},
        "vlm": vlm_facts(config.backbone, config.vision_budget, checkpoint, session),
        "num_samples": count,
        "rows_computed": dict(computed),
        "rows_skipped": list(dataset.skipped),
        "wall_seconds": round(time.monotonic() - begun, 3),
        **provenance(session),
    }
    write_json(folder / SUMMARY, summary)
    return summary


LINES, CHANGES = "rescored.csv", "changed.jsonl"


def write_rescored(folder: Path, found: Rescored) -> list[Path]:
    """Write counts by data set and look, and every answer that is judged otherwise."""
    write_rows(folder / LINES, without_formulas(found.lines), list(found.lines[0]))
    write_text(folder / CHANGES, "".join(json_line(change.as_json()) for change in found.changes))
    return [folder / LINES, folder / CHANGES]
