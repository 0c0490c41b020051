"""Block E2: accuracy, cost and actions by slices of the questions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vovnet.actions import Action
from vovnet.data import VQADataset, load_dataset
from vovnet.files import write_json
from vovnet.outcomes.routed import Routed
from vovnet.outcomes.rows import Outcomes, places
from vovnet.results.evaluate import Evaluation, evaluate, read_outcomes
from vovnet.results.write import without_formulas, write_rows
from vovnet.schema import RunConfig, in_order
from vovnet.session import Session

KINDS = ("right_choice", "wasted_vision", "missed_need", "vision_hurts")
COLUMNS = "slice value num_samples rate score avg_cost".split()
EXAMPLES = 20  # listed per kind of error


def error_kinds(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The kind of each sample's choice, as its index in ``KINDS``.

    Args:
        scores: of every action, cheapest first, [N, A].
        columns: the chosen ones, [N].
    """
    rows, places = np.arange(len(scores)), np.arange(scores.shape[1])
    own = scores[rows, columns][:, None]
    cheaper, costlier = places < columns[:, None], places > columns[:, None]
    hurt = (cheaper & (scores > own)).any(axis=1)
    missed = ~hurt & (costlier & (scores > own)).any(axis=1)
    wasted = ~hurt & ~missed & (cheaper & (scores == own)).any(axis=1)
    return np.select([hurt, missed, wasted], [KINDS.index(k) for k in ("vision_hurts", "missed_need", "wasted_vision")])


def slice_rows(dataset: VQADataset, routed: Routed, kinds: np.ndarray) -> list[dict[str, Any]]:
    """One line per action, kind, category, supercategory, and per kind within an action or category."""
    count = len(kinds)
    samples = [dataset[i] for i in range(count)]
    labels = routed.labels
    named = np.array(KINDS)[kinds]
    slices = {
        "action": labels,
        "kind": named,
        "category": np.array([s.category for s in samples]),
        "supercategory": np.array([s.supercategory for s in samples]),
    }
    slices["action, kind"] = np.char.add(np.char.add(labels, ", "), named)
    slices["category, kind"] = np.char.add(np.char.add(slices["category"], ", "), named)
    lines = []
    for name, values in slices.items():
        for value in sorted(set(values.tolist()) - {""}):
            rows = values == value
            lines.append(
                {
                    "slice": name,
                    "value": value,
                    "num_samples": int(rows.sum()),
                    "rate": float(rows.mean()),
                    "score": float(routed.chosen.score[rows].mean(dtype=np.float64)),
                    "avg_cost": float(routed.cost[rows].mean()),
                }
            )
    return lines


def examples(
    dataset: VQADataset, outcomes: Outcomes, routed: Routed, kinds: np.ndarray, actions: Sequence[Action]
) -> dict[str, list[dict[str, Any]]]:
    """The first samples of every kind of error, with what each branch answered."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS[1:]:
        listed[kind] = []
        for index in np.flatnonzero(kinds == KINDS.index(kind))[:EXAMPLES].tolist():
            sample = dataset[index]
            listed[kind].append(
                {
                    "id": sample.id,
                    "category": sample.category,
                    "question": sample.question,
                    "options": list(sample.options),
                    "answers": list(sample.answers),
                    "action": str(routed.labels[index]),
                    "branches": {
                        a.label: {
                            "prediction": str(outcomes.branches[a].prediction[index]),
                            "score": float(outcomes.branches[a].score[index]),
                        }
                        for a in actions
                    },
                }
            )
    return listed


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
