"""H1: the oracle, which knows every branch's outcome.

python -m experiments.oracle eval.max_samples=200
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.policy.oracle import Oracle
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.results.evaluate import Evaluation


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "Evaluation":
    """Evaluate the oracle, then write ``analysis_oracle.json`` beside its results."""
    from vovnet.actions import ACTION_SPACES
    from vovnet.analyses.oracle import analyse
    from vovnet.data import load_dataset
    from vovnet.files import write_json
    from vovnet.results.evaluate import evaluate, read_outcomes

    if not isinstance(config.policy.baseline, Oracle):
        raise VoVNetError("experiments.oracle is about policy/baseline=oracle; leave policy/baseline out.")
    session = session or Session()
    evaluation = evaluate(config, folder, session)
    actions = ACTION_SPACES[config.policy.action_space]
    outcomes, costs = read_outcomes(config, actions, session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    categories = [dataset[i].category for i in range(len(costs))]
    write_json(folder / "analysis_oracle.json", analyse(outcomes, costs, actions, categories))
    return evaluation


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
