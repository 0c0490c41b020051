"""Block E2 of a configuration: an evaluation and its error slices."""

from pathlib import Path
from typing import Any

from vovnet.analyses.slices import COLUMNS, error_kinds, examples, slice_rows
from vovnet.data import load_dataset
from vovnet.files import write_json
from vovnet.outcomes.rows import places
from vovnet.results.evaluate import Evaluation, evaluate, read_outcomes
from vovnet.results.write import without_formulas, write_rows
from vovnet.schema import RunConfig, in_order
from vovnet.session import Session


def evaluate_in_slices(config: RunConfig, folder: Path, session: Session) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Evaluate, then compare each choice with what every other action would have scored."""
    evaluation = evaluate(config, folder, session)
    taken = evaluation.routed.actions
    # The configured menu, widened by what a baseline or a fallback chose outside it.
    chosen = (look for look in evaluation.routed.menu if (taken == int(look)).any())
    actions = in_order((*config.menu, *chosen), config.vision_budget)
    outcomes, _ = read_outcomes(config, actions, session)
    columns = places(actions, taken)
    kinds = error_kinds(outcomes.stacked("score", actions), columns)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    lines = slice_rows(dataset, evaluation.routed, kinds)
    write_rows(folder / "error_slices.csv", without_formulas(lines), COLUMNS)
    listed = examples(dataset, outcomes, evaluation.routed, kinds, actions)
    write_json(folder / "error_slices.json", {"slices": lines, "examples": listed})
    return evaluation, lines
