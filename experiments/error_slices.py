"""E2: error slices of a policy or baseline.

python -m experiments.error_slices policy.lambda_cost=0.05
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
    import numpy as np

    from vovnet.actions import ACTION_SPACES
    from vovnet.analyses.slices import COLUMNS, error_kinds, examples, slice_rows
    from vovnet.data import load_dataset
    from vovnet.files import write_json
    from vovnet.results.evaluate import evaluate, read_outcomes
    from vovnet.results.write import write_rows

    session = session or Session()
    evaluation = evaluate(config, folder, session)
    taken = evaluation.routed.actions
    # The policy's space, widened by what a baseline or a fallback chose outside it.
    actions = tuple(sorted({*ACTION_SPACES[config.policy.action_space], *np.unique(taken).tolist()}))
    actions = tuple(a for a in ACTION_SPACES["ternary"] if a in actions)
    outcomes, _ = read_outcomes(config, actions, session)
    columns = np.searchsorted([int(a) for a in actions], taken)
    kinds = error_kinds(outcomes.stacked("score", actions), columns)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    lines = slice_rows(dataset, evaluation.routed, kinds)
    write_rows(folder / "error_slices.csv", lines, COLUMNS)
    listed = examples(dataset, outcomes, evaluation.routed, kinds, actions)
    write_json(folder / "error_slices.json", {"slices": lines, "examples": listed})
    return evaluation, lines


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
