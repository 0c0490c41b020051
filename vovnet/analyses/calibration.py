"""Calibrating a lambda for a configuration: one for all data sets and one for each."""

import logging
from dataclasses import asdict, fields
from pathlib import Path

from vovnet.analyses.calibrate import Calibrated, calibrate, per_dataset
from vovnet.analyses.held_out import held_out
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.write import write_rows
from vovnet.schema import RunConfig
from vovnet.session import Session

log = logging.getLogger(__name__)


def calibrate_policy(config: RunConfig, folder: Path, session: Session) -> list[Calibrated]:
    """Calibrate one lambda for all data sets and one for each; write ``calibration.csv`` and summary.json."""
    asked = config.calibrate
    if asked is None or (asked.cost is None and asked.accuracy_kept is None):
        raise VoVNetError("give calibrate.cost=0.3 (a budget) or calibrate.accuracy_kept=0.99 (of FULL's).")
    everything, names, policy_file, leaks = held_out(config, session)
    found = [calibrate(everything, asked.cost, asked.accuracy_kept)]
    for part in per_dataset(everything, names):
        try:
            found.append(calibrate(part, asked.cost, asked.accuracy_kept))
        except VoVNetError as error:  # one set out of reach takes nothing from the others
            log.warning("left out: %s", error)
    lines = [asdict(one) for one in found]
    (folder / SUMMARY).unlink(missing_ok=True)  # where one stands, the table belongs to it
    write_rows(folder / "calibration.csv", lines, [f.name for f in fields(Calibrated)])
    facts = {"config": asdict(config), "policy_file": str(policy_file), "calibration": lines, "leak_guard": leaks}
    write_json(folder / SUMMARY, facts | provenance(session))
    return found
