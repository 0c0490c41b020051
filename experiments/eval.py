"""Evaluate a policy or baseline, once or over a sweep.

python -m experiments.eval policy/baseline=always_full
python -m experiments.eval -m policy.lambda_cost=0,0.01,0.02,0.05,0.1
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.results.columns import ResultRow


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "ResultRow":
    """Evaluate into ``folder``; a live run that exists there with the same inputs is kept."""
    from vovnet.results.evaluate import evaluate, existing_row

    return existing_row(config, folder, session) or evaluate(config, folder, session).row


def show(row: "ResultRow", folder: Path) -> None:
    """Print the result of a single run."""
    from vovnet.report.table import print_checks_of, print_rows

    print_checks_of(folder)
    print_rows([row], folder)


def finish(folder: Path) -> bool:
    """Merge a sweep, draw its frontier, print its table; False when a job failed."""
    from vovnet.report.sweep_figure import plot_frontier
    from vovnet.report.table import print_checks_of, print_rows
    from vovnet.results.sweep import merge_sweep

    rows, failed = merge_sweep(folder)
    if rows:
        plot_frontier(rows, folder / "frontier.png")
    print_checks_of(folder)
    print_rows(rows, folder, failed)
    return not failed


def main() -> None:
    """Console entry point."""
    launch("eval", run, show, finish)


if __name__ == "__main__":
    main()
