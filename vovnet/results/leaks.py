"""Was this evaluation split in the policy's training data? Looked up, or looked for."""

import json
import logging
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vovnet.data import VQADataset, load_dataset
from vovnet.data.leaks import enforce, leak_report, recalled
from vovnet.errors import VoVNetError
from vovnet.policy.checkpoint import UNKNOWN, PolicyCard
from vovnet.schema import DatasetConfig, RunConfig

log = logging.getLogger(__name__)


def look_for_leaks(config: RunConfig, card: PolicyCard | None, dataset: VQADataset) -> list[dict[str, Any]]:
    """The guard's verdict on a policy and the split it is evaluated on, for summary.json.

    A baseline was trained on nothing. Where the training data are no longer there, that is said and recorded.

    Raises:
        VoVNetError: an evaluation sample is in the training data.
    """
    if card is None:
        return []
    if card.dataset == UNKNOWN:
        return [_unchecked(card, "its checkpoint does not say what it was trained on")]
    folder = Path(config.paths.data)
    report = recalled(card.data_fingerprint, dataset.fingerprint, folder)
    if report is None:
        try:
            trained_on = TypeAdapter(DatasetConfig).validate_python(json.loads(card.data_config))
            training = load_dataset(trained_on, "train")
        except ValueError as error:  # of JSON or of the schema
            return [_unchecked(card, f"the policy file's account of them is damaged: {' '.join(str(error).split())}")]
        except VoVNetError as error:
            return [_unchecked(card, f"the training data cannot be opened: {error}")]
        if training.fingerprint != card.data_fingerprint:
            return [_unchecked(card, "the training data are not what they were")]
        report = leak_report(training, dataset, folder)
    return enforce([report], config.leaks)


def _unchecked(card: PolicyCard, why: str) -> dict[str, Any]:
    log.warning("the leak guard did not look into the policy's training data (%s): %s", card.dataset, why)
    return {"training": {"name": card.dataset}, "passed": None, "why": why}
