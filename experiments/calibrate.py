"""A lambda for a budget, calibrated on questions that the policy was not trained on.

python -m experiments.calibrate calibrate.cost=0.3
python -m experiments.calibrate calibrate.accuracy_kept=0.95 dataset=mini
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.jobs import all_done
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.analyses.calibrate import Calibrated


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[Calibrated]":
    """Calibrate one lambda for all data sets and one for each; write ``calibration.csv`` and summary.json."""
    from vovnet.analyses.calibration import calibrate_policy

    return calibrate_policy(config, folder, session or Session())


def show(found: "list[Calibrated]", folder: Path) -> None:
    """Print each lambda with what to expect of it."""
    from vovnet.report.table import print_calibrated

    print_calibrated(found, folder)


finish = all_done  # a sweep of it leaves no table


def main() -> None:
    """Console entry point."""
    launch("calibrate", run, show, finish)


if __name__ == "__main__":
    main()
