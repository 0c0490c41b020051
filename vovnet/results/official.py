"""Official scores of a run, set by set, and the official random fallback of MMMU."""

from dataclasses import replace

import numpy as np

from vovnet.actions import USUAL
from vovnet.data import VQADataset
from vovnet.outcomes.routed import Routed
from vovnet.results.columns import OWN_RATE
from vovnet.results.split import SplitColumns
from vovnet.scoring.official import OfficialScores


def official_scores(split: SplitColumns, routed: Routed) -> dict[str, OfficialScores]:
    """What each set's own evaluator would say."""
    score, parsed = routed.chosen.score, routed.chosen.parsed
    return {name: split.sheets[name].scores(score[rows], parsed[rows]) for name, rows in split.members.items()}


def category_rows(split: SplitColumns, routed: Routed) -> list[dict[str, object]]:
    """One line per set and category: score, cost and what was chosen."""
    lines = []
    for (name, category), rows in split.categories.items():
        rates = routed.rates(rows)
        shown = {f"action_rate_{look.label}": rates.pop(look.label) for look in USUAL}
        lines.append(
            {
                "dataset": name,
                "category": category,
                "num_samples": len(rows),
                "score": float(routed.chosen.score[rows].mean(dtype=np.float64)),
                "unparsed_rate": float((~routed.chosen.parsed[rows]).mean()),
                "refusal_rate": float(routed.chosen.refused[rows].mean()),
                "avg_cost": float(routed.cost[rows].mean()),
                **shown,
                **{f"{OWN_RATE}{label}": rate for label, rate in rates.items()},
            }
        )
    return lines


def with_random_fallback(dataset: VQADataset, routed: Routed, seed: int) -> tuple[Routed, int]:
    """MMMU's official treatment of choices that cannot be read: a letter drawn at random; and how many.

    Each sample draws from a stream of its own. Only results are changed: outcomes in the store, and so what
    a policy learns from, never contain luck.
    """
    score, drawn = routed.chosen.score.copy(), 0
    for index in np.flatnonzero(~routed.chosen.parsed).tolist():
        sample = dataset[index]
        if dataset.member(index).scorer == "mmmu" and sample.options:
            letter = chr(ord("A") + int(np.random.default_rng([seed, index]).integers(len(sample.options))))
            score[index] = float(letter in sample.answers)
            drawn += 1
    return replace(routed, chosen=replace(routed.chosen, score=score)), drawn
