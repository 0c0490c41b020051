"""Routing and pruning together: a policy whose FULL look is thinned out (policy.full_pruning_ratio)."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Configure
from tests.policy.test_route import COUNT, policy_file
from vovnet.actions import Action
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.report.equal_cost import equal_cost_lines
from vovnet.report.frontier import curves
from vovnet.report.runs import find_runs
from vovnet.report.study import studies
from vovnet.results.evaluate import Evaluation, evaluate
from vovnet.vlm.files import find_checkpoint

MERGED = ("policy.full_pruning_ratio=0.5", "policy.full_pruning_mode=merge")
PROXY = ("policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_mode=merge")
MORE = "eval.max_samples=72"  # of six images at least, which a comparison needs


@pytest.fixture
def run(configure: Configure, tmp_path: Path) -> "Run":
    return Run(configure, tmp_path)


class Run:
    """Evaluations of one random policy with whole and one with merged looks."""

    def __init__(self, configure: Configure, folder: Path) -> None:
        self.configure, self.folder = configure, folder
        self.files = {keys: policy_file(configure(*keys), folder / f"{len(keys)}.safetensors") for keys in ((), MERGED)}

    def __call__(self, *overrides: str, policy: tuple[str, ...] | None = None) -> Evaluation:
        given = () if policy is None else (*policy, f"eval.checkpoint={self.files[policy]}")
        return evaluate(self.configure(COUNT, *given, *overrides), self.folder / "out")


def test_full_is_what_the_pruning_baseline_sees_and_coarse_stays_whole(run: Run) -> None:
    whole, always = run(policy=()), run(*PROXY, "policy.baseline.pruning_ratio=0.5")
    merged = run(policy=MERGED)
    assert merged.computed == {"text": 0, "no": 0, "coarse": 0, "full": 0}  # all of it is stored already
    full = merged.routed.actions == int(Action.FULL)
    assert 0 < full.sum() < len(full)
    for name in ("prediction", "score", "vision_tokens"):
        seen, alone = (getattr(e.routed.chosen, name) for e in (merged, always))
        assert np.array_equal(seen[full], alone[full]), name
    assert np.array_equal(merged.routed.actions, whole.routed.actions)  # the same head at lambda's small costs
    assert np.array_equal(merged.routed.cost[~full], whole.routed.cost[~full])
    assert np.allclose(merged.routed.cost[full], whole.routed.cost[full] / 2, atol=1 / 64)
    assert (merged.row.pruning_mode, merged.row.pruning_ratio) == ("merge", 0.5)
    assert (whole.row.pruning_mode, whole.row.pruning_ratio) == (None, None)


def test_a_store_holds_both_kinds_of_full(run: Run, configure: Configure) -> None:
    run(policy=())
    assert run(policy=MERGED).computed == {"text": 0, "no": 0, "coarse": 0, "full": 48}
    config = configure(COUNT, *MERGED)
    checkpoint, dataset = find_checkpoint(config.backbone), load_dataset(config.dataset, config.eval.split)
    tokens = [
        load_outcomes(one, checkpoint, dataset, (Action.COARSE, Action.FULL), 48).outcomes.branches
        for one in (config, configure(COUNT))
    ]
    assert np.array_equal(*(t[Action.COARSE].vision_tokens for t in tokens))
    assert (tokens[0][Action.FULL].vision_tokens < tokens[1][Action.FULL].vision_tokens).all()


def test_a_policy_belongs_to_the_full_it_was_trained_with(run: Run, configure: Configure) -> None:
    for trained, asked, said in (
        ((), MERGED, "policy.full_pruning_ratio=1.0"),
        (MERGED, (), "policy.full_pruning_ratio=0.5"),
        (MERGED, ("policy.full_pruning_ratio=0.5", "policy.full_pruning_mode=pool"), "full_pruning_mode=merge"),
    ):
        with pytest.raises(VoVNetError, match=said):
            evaluate(configure(COUNT, *asked, f"eval.checkpoint={run.files[trained]}"), run.folder / "out")


def test_random_choices_are_matched_under_the_same_full(run: Run) -> None:
    merged = run(policy=MERGED)
    random = ("policy/baseline=random_policy_matched", f"policy.baseline.match={run.folder / 'out'}")
    with pytest.raises(VoVNetError, match=r"full_pruning_ratio=0.5 policy.full_pruning_mode=merge; set the same"):
        run(*random)
    matched = run(*random, *MERGED)
    assert matched.row.avg_cost == pytest.approx(merged.row.avg_cost, abs=0.15)
    assert (matched.row.pruning_mode, matched.row.pruning_ratio) == ("merge", 0.5)


def test_curves_tell_the_two_apart(run: Run) -> None:
    rows = [run(f"policy.lambda_cost={price}", policy=p).row for p in ((), MERGED) for price in (0.1, 0.2)]
    threshold = ("policy/baseline=uncertainty_threshold",)
    rows += [run(*threshold, *keys).row for keys in ((), MERGED)]
    labels = [curve.label for curve in curves(rows)]
    assert len(set(labels)) == 4
    assert sum("merge" in label for label in labels) == 2
    twin = [replace(row, pruning_ratio=0.25) for row in rows if row.pruning_ratio is not None]
    assert len({curve.label for curve in curves([*rows, *twin])}) == 6


@pytest.mark.parametrize("baseline", ["always_full", "resolution_scaling"])
def test_fixed_baselines_look_whole(run: Run, baseline: str) -> None:
    """What everything is compared with; so a pipeline can be given the key for all of its stages."""
    keys = f"policy/baseline={baseline}"
    assert run(keys, *MERGED).row.avg_cost == run(keys).row.avg_cost
    assert run(keys, *MERGED).row.pruning_ratio is None


def test_at_equal_cost_its_own_branches_are_drawn_from(run: Run, configure: Configure) -> None:
    """Drawn from a whole FULL, the matched random choices would cost more than what they are matched with."""
    fixed = [(f"policy/baseline={name}",) for name in ("no_vision", "always_coarse", "always_full")]
    given = (*MERGED, f"eval.checkpoint={run.files[MERGED]}", "policy.lambda_cost=0.1")
    for place, keys in enumerate([*fixed, given]):
        evaluate(configure(MORE, *keys), run.folder / f"all/{place}")

    def drawn() -> dict[str, dict[str, float]]:
        store = configure().paths.store
        (study,) = studies(find_runs([run.folder / "all"]).runs, store)
        return {str(line["baseline"]): line for line in equal_cost_lines(study)}

    assert not any("matched" in name for name in drawn())  # its FULL was not run by itself
    evaluate(configure(MORE, *PROXY, "policy.baseline.pruning_ratio=0.5"), run.folder / "all/proxy")
    (line,) = (line for name, line in drawn().items() if name == "random, matched")
    assert line["baseline_cost"] == pytest.approx(line["avg_cost"], abs=0.01)


def test_a_full_look_may_be_pruned_below_a_coarse_one(configure: Configure, tmp_path: Path) -> None:
    """As it is with small images: COARSE shows them whole, and FULL keeps a part of as many tokens."""
    keys = (*MERGED, "vision_budget.coarse.long_side=64", "vision_budget.coarse.max_pixels=4096", COUNT)
    given = (*keys, f"eval.checkpoint={policy_file(configure(*keys), tmp_path / 'policy.safetensors')}")
    runs = [evaluate(configure(*given, f"policy.lambda_cost={p}"), tmp_path / str(p)) for p in (0, 0.1, 0.5)]
    costs = [run.routed.cost for run in runs]
    assert all((later <= earlier).all() for earlier, later in pairwise(costs))
    chosen = runs[0].routed.actions
    tokens = runs[0].routed.chosen.vision_tokens
    assert tokens[chosen == int(Action.FULL)].max() < tokens[chosen == int(Action.COARSE)].min()
    live = evaluate(configure(*given, "policy.lambda_cost=0.1", "eval.mode=live"), tmp_path / "live")
    assert np.array_equal(live.routed.actions, runs[1].routed.actions)
    evaluate(configure(*keys, "policy/baseline=oracle"), tmp_path / "oracle")
