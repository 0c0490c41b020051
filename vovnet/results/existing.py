"""A run is not done again while its folder holds the results of the same inputs.

Replayed evaluations need none of this, since the outcome store makes them cheap. Trainings, live runs and
profiles would spend their time anew whenever a sweep or a pipeline is repeated.
"""

import hashlib
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vovnet.compose import config_identity
from vovnet.data import VQADataset
from vovnet.files import read_object, write_json
from vovnet.outcomes.keys import CODE_VERSION, generic_facts, imported_rows, scorer_facts
from vovnet.outcomes.units import unit_of
from vovnet.provenance import SUMMARY
from vovnet.ranks import is_main_rank
from vovnet.results.read import read_results
from vovnet.results.write import RESULTS, write_results
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


def existing_summary(folder: Path, key: str, label: str | None) -> dict[str, Any] | None:
    """The summary of a finished run with these inputs in ``folder``, None where there is none.

    A run writes its summary last, so where it exists the other files do. What people call the data set is no input:
    where it has changed, the files are written again with the new name.

    Args:
        label: ``dataset.label``.
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
    if summary["config"]["dataset"].get("label") != label and is_main_rank():
        _rename(folder, summary, label)
    return summary


def _rename(folder: Path, summary: dict[str, Any], label: str | None) -> None:
    """Write another ``dataset.label`` into a finished run, its summary last."""
    if (folder / RESULTS).is_file():
        rows = [replace(row, dataset_label=label) for row in read_results(folder / RESULTS)]
        write_results(folder / RESULTS, rows)
    summary["config"]["dataset"]["label"] = label
    if "result" in summary:
        summary["result"]["dataset_label"] = label
    write_json(folder / SUMMARY, summary)
