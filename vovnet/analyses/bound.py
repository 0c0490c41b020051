"""Block H1 of a configuration: the oracle, and how far the fixed policies are from it."""

from pathlib import Path

from vovnet.analyses.oracle import analyse
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.policy.oracle import Oracle
from vovnet.results.evaluate import Evaluation, evaluate, read_outcomes
from vovnet.schema import RunConfig
from vovnet.session import Session


def evaluate_oracle(config: RunConfig, folder: Path, session: Session) -> Evaluation:
    """Evaluate the oracle, then write ``analysis_oracle.json`` beside its results."""
    if not isinstance(config.policy.baseline, Oracle):
        raise VoVNetError("experiments.oracle is about policy/baseline=oracle; leave policy/baseline out.")
    evaluation = evaluate(config, folder, session)
    actions = config.menu
    outcomes, costs = read_outcomes(config, actions, session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    categories = [dataset[i].category for i in range(len(costs))]
    write_json(folder / "analysis_oracle.json", analyse(outcomes, costs, actions, categories))
    return evaluation
