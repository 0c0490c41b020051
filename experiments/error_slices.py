"""E2: error slices of a policy or baseline.

python -m experiments.error_slices policy.lambda_cost=0.05
python -m experiments.error_slices policy/baseline=always_full dataset=mini_mmmu
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.results.evaluate import Evaluation

Sliced = tuple["Evaluation", list[dict[str, Any]]]


def run(config: RunConfig, folder: Path, session: Session | None = None) -> Sliced:
    """Evaluate, then compare each choice with what every other action would have scored."""
    from vovnet.analyses.slices import evaluate_in_slices

    return evaluate_in_slices(config, folder, session or Session())


def show(sliced: Sliced, folder: Path) -> None:
    """Print slices by action and by kind of error."""
    from vovnet.report.table import print_rows, print_slices

    evaluation, lines = sliced
    print_slices([line for line in lines if line["slice"] in ("action", "kind", "action, kind")])
    print_rows([evaluation.row], folder)


def finish(folder: Path) -> bool:
    """Merge a sweep."""
    from experiments.eval import finish as merge

    return merge(folder)


def main() -> None:
    """Console entry point."""
    launch("error_slices", run, show, finish)


if __name__ == "__main__":
    main()
