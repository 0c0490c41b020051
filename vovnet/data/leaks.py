"""The leak guard's results, remembered by the fingerprints of both sides, and acted upon."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vovnet.data import load_dataset
from vovnet.data.guard import Finding, LeakReport, compare
from vovnet.data.sample import VQADataset
from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_json
from vovnet.schema import DatasetConfig, LeaksConfig
from vovnet.session import Session

log = logging.getLogger(__name__)
FORMAT = 3  # rises when the guard judges otherwise


def leak_report(training: VQADataset, evaluation: VQADataset, data_folder: Path) -> LeakReport:
    """Compare two splits, or recall what an earlier comparison of the very same splits found."""
    file = _file(training.fingerprint, evaluation.fingerprint, data_folder)
    if (known := _read(file)) is not None:
        return known
    report = compare(training, evaluation, data_folder / "signatures")
    write_json(file, {"templates": report.templates, **report.as_json(())})
    return report


def recalled(training: str, evaluation: str, data_folder: Path) -> LeakReport | None:
    """What was found between two splits of these fingerprints, if they were ever compared."""
    return _read(_file(training, evaluation, data_folder))


def enforce(reports: Sequence[LeakReport], leaks: LeaksConfig) -> list[dict[str, Any]]:
    """Refuse what is not allowed; returns what belongs into summary.json.

    Raises:
        VoVNetError: an evaluation sample is in the training data.
    """
    for report in reports:
        if report.refused(leaks.allow):
            raise VoVNetError(report.sentence(leaks.allow))
        if report.findings:
            log.warning("leaks allowed by leaks.allow: %s", report.as_json(leaks.allow)["counts"])
    return [report.as_json(leaks.allow) for report in reports]


def held_out(config: DatasetConfig, session: Session | None = None) -> list[VQADataset]:
    """The evaluation splits that go with a training set: of itself, or of each part of a mixture."""
    leaves = list(config.parts.values()) or [config]
    return [load_dataset(leaf, "test", session=session) for leaf in leaves if leaf.files.test]


def _file(training: str, evaluation: str, data_folder: Path) -> Path:
    return data_folder / "leaks" / f"{training[:16]}-{evaluation[:16]}-{FORMAT}.json"


def _read(file: Path) -> LeakReport | None:
    """A remembered comparison; None where there is none, or a damaged one, which is said."""
    try:
        content = read_object(file)
        findings = tuple(Finding(**finding) for finding in content["findings"])
        return LeakReport(content["training"], content["evaluation"], findings, content["templates"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s); it is made anew", file, error)
        return None
