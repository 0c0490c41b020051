"""A lambda for a budget, calibrated on questions that the policy was not trained on.

python -m experiments.calibrate calibrate.cost=0.3
python -m experiments.calibrate calibrate.accuracy_kept=0.95 dataset=mini
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.jobs import all_done
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.analyses.calibrate import Calibrated

log = logging.getLogger(__name__)


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[Calibrated]":
    """Calibrate one lambda for all data sets and one for each; write ``calibration.csv`` and summary.json."""
    from dataclasses import asdict, fields

    from vovnet.analyses.calibrate import Calibrated, calibrate, per_dataset
    from vovnet.analyses.held_out import held_out
    from vovnet.errors import VoVNetError
    from vovnet.files import write_json
    from vovnet.provenance import SUMMARY, provenance
    from vovnet.results.write import write_rows

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


def show(found: "list[Calibrated]", folder: Path) -> None:
    """Print each lambda with what to expect of it."""
    from vovnet.report.table import print_calibrated

    print_calibrated(found, folder)


def main() -> None:
    """Console entry point."""
    launch("calibrate", run, show, all_done)


if __name__ == "__main__":
    main()
