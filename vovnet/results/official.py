"""Official scores of a run, set by set, and the official random fallback of MMMU."""

from dataclasses import replace

import numpy as np

from vovnet.actions import USUAL
from vovnet.data import VQADataset
from vovnet.data.sample import SampleRule
from vovnet.outcomes.routed import Routed
from vovnet.results.columns import OWN_RATE
from vovnet.results.split import SplitColumns
from vovnet.scoring.official import OfficialScores


def official_scores(dataset: VQADataset, split: SplitColumns, routed: Routed) -> dict[str, OfficialScores]:
    """What each set's own evaluator would say."""
    chosen = routed.chosen
    found = {}
    for name, rows in split.members.items():
        scores = split.sheets[name].scores(chosen.score[rows], chosen.parsed[rows])
        member = dataset.member(int(rows[0]))
        if isinstance(member.scorer, SampleRule):
            samples = [member[dataset.place(row)] for row in rows.tolist()]
            metrics = member.scorer.official(samples, chosen.answer[rows].tolist())
            headline = metrics.get(scores.name)  # a number unless the benchmark cannot aggregate these samples
            value = headline if isinstance(headline, float) else scores.value
            scores = replace(scores, value=value, metrics=metrics)
        found[name] = scores
    return found


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
