"""Filling the outcome store without deciding anything, and what there is to say about it."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vovnet.data import load_dataset
from vovnet.files import write_json
from vovnet.outcomes.load import collect_outcomes
from vovnet.policy.protocol import TEXT
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.setting import make_policy
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
    actions, with_text, with_nll = config.menu, True, config.policy.objective.reads_nll
    states = actions[1:-1] if config.policy.procedure == "sequential" else ()
    if config.policy.baseline.name:
        policy = make_policy(config, session)
        actions, with_text, with_nll, states = policy.looks, TEXT in policy.needs, False, policy.states
    computed = collect_outcomes(config, checkpoint, dataset, actions, count, with_text, session, with_nll, states)
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
