"""The main job: train, sweep lambda, evaluate the fixed policies, merge, plot.

python -m experiments.pipeline
python -m experiments.pipeline +experiment=mvp
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.results.columns import ResultRow


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[ResultRow]":
    """Run every stage in its own process, then merge all results of the stages into ``folder``."""
    from vovnet.stages import run_stages

    return run_stages(config, folder)


def show(rows: "list[ResultRow]", folder: Path) -> None:
    """Print the merged table and the checks."""
    from vovnet.checks.blocks import sweep_checks
    from vovnet.report.table import print_checks, print_rows
    from vovnet.results.columns import evaluated

    print_rows(rows, folder)
    print_checks(sweep_checks(evaluated(rows)))


finish = None  # it is not swept


def main() -> None:
    """Console entry point."""
    launch("pipeline", run, show, finish)


if __name__ == "__main__":
    main()
