"""G1: tables, figures and an HTML page of any runs; with two folders, also their comparison.

python -m experiments.report
python -m experiments.report runs=[multirun/a1_pareto,multirun/b1_fixed]
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.jobs import all_done
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.report.report import Report


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "Report":
    """Write the report into ``folder``."""
    from vovnet.errors import VoVNetError
    from vovnet.report.report import write_report

    if config.report is None:
        raise VoVNetError("report.samples and report.image_megabytes are missing; start from conf/report.yaml.")
    folders = [Path(name).expanduser() for name in config.runs or (config.paths.runs,)]
    return write_report(folders, config.paths.store, config.report, folder, session)


def show(report: "Report", folder: Path) -> None:
    """Print the main table, the comparison and where everything is."""
    from vovnet.report.table import print_report

    print_report(report, folder)


finish = all_done  # a sweep of it leaves no table


def main() -> None:
    """Console entry point."""
    launch("report", run, show, finish)


if __name__ == "__main__":
    main()
