"""H1: the oracle, which knows every branch's outcome.

python -m experiments.oracle eval.max_samples=200
python -m experiments.oracle dataset=mini_mmbench
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.results.evaluate import Evaluation


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "Evaluation":
    """Evaluate the oracle, then write ``analysis_oracle.json`` next to its results."""
    from vovnet.analyses.oracle import evaluate_oracle

    return evaluate_oracle(config, folder, session or Session())


def show(evaluation: "Evaluation", folder: Path) -> None:
    """Print the oracle's row."""
    from vovnet.report.table import print_rows

    print_rows([evaluation.row], folder)


def finish(folder: Path) -> bool:
    """Merge a sweep over data sets."""
    from experiments.eval import finish as merge

    return merge(folder)


def main() -> None:
    """Console entry point."""
    launch("oracle", run, show, finish)


if __name__ == "__main__":
    main()
