"""A run is not done again while its folder holds the results of the same inputs.

Replayed evaluations need none of this, since the outcome store makes them cheap. Trainings, live runs and
profiles would spend their time anew whenever a sweep or a pipeline is repeated.
"""

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vovnet.compose import config_identity
from vovnet.data import VQADataset
from vovnet.files import read_object
from vovnet.outcomes.keys import CODE_VERSION, generic_facts, imported_rows, scorer_facts
from vovnet.outcomes.units import unit_of
from vovnet.provenance import SUMMARY
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.reading import reading_facts

log = logging.getLogger(__name__)


def inputs_key(
    config: RunConfig, dataset: VQADataset, policy_file: Path | None = None, session: Session | None = None
) -> str:
    """SHA-256 of what a run's files depend on: configuration, weights, questions, policy, code and library versions.

    The batch size counts: it changes no answer, but live latencies.
    """
    checkpoint = find_checkpoint(config.backbone, session=session)
    facts = {
        "config": config_identity(config),
        "eval": asdict(config.eval),
        "backbone": checkpoint.fingerprint,
        "reading": reading_facts(config.backbone, checkpoint),
        "dataset": dataset.fingerprint,
        "scorers": scorer_facts(dataset),
        **({} if (rows := imported_rows(checkpoint, dataset)) is None else {"rows": rows.record}),
        "policy": None if policy_file is None else hashlib.sha256(policy_file.read_bytes()).hexdigest(),
        **({} if config.policy.cost_unit != "latency" else {"unit": unit_of(config, checkpoint, ()).name}),
        "code": CODE_VERSION | generic_facts(config.backbone, checkpoint),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def existing_summary(folder: Path, key: str) -> dict[str, Any] | None:
    """The summary of a finished run with these inputs in ``folder``, None where there is none.

    A run writes its summary last, so where it exists the other files do.
    """
    try:
        summary = read_object(folder / SUMMARY)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s is damaged (%s); the run is done again", folder / SUMMARY, error)
        return None
    if summary.get("inputs") != key:
        return None
    log.info("done already with the same inputs; delete %s to do it again", folder)
    return summary
