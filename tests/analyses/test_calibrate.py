"""A lambda for a budget, on held-out questions."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure, compose_config
from tests.policy.test_route import policy_file
from vovnet.analyses.calibrate import HeldOut, calibrate, candidates, per_dataset
from vovnet.analyses.calibration import held_out
from vovnet.data import load_dataset
from vovnet.data.mixture import split_groups
from vovnet.errors import VoVNetError
from vovnet.policy.checkpoint import load_policy, save_policy
from vovnet.policy.decide import choose
from vovnet.vlm.files import find_checkpoint

SEEDS = st.integers(0, 2**32 - 1)


def questions(seed: int, size: int = 50) -> HeldOut:
    """Values that say something about the scores, costs of 0, 0.1 and 1."""
    rng = np.random.default_rng(seed)
    chances = np.sort(rng.random((size, 3)), axis=1)
    scores = (rng.random((size, 3)) < chances).astype(float)
    return HeldOut("some", chances, scores, np.tile([0.0, 0.1, 1.0], (size, 1)), rng.integers(0, 20, size))


def outcome(part: HeldOut, price: float) -> tuple[float, float]:
    rows, columns = np.arange(len(part.values)), choose(part.values, part.costs, price)
    return float(part.costs[rows, columns].mean()), float(part.scores[rows, columns].mean())


@given(SEEDS, st.floats(0.01, 1.0))
def test_a_cost_budget_gets_the_smallest_lambda_that_meets_it(seed: int, budget: float) -> None:
    part = questions(seed)
    found = calibrate(part, budget, None)
    assert (found.avg_cost, found.accuracy) == pytest.approx(outcome(part, found.lambda_cost))
    assert found.avg_cost <= budget + 1e-12
    if found.lambda_cost > 0:
        assert outcome(part, found.lambda_cost * (1 - 1e-9))[0] > budget
    assert found.avg_cost_ci_low <= found.avg_cost <= found.avg_cost_ci_high
    assert found.accuracy_ci_low <= found.accuracy <= found.accuracy_ci_high


@given(SEEDS, st.floats(0.5, 1.0))
def test_an_accuracy_to_keep_gets_the_largest_lambda_that_keeps_it(seed: int, kept: float) -> None:
    part = questions(seed)
    wanted = kept * part.scores[:, -1].mean()
    prices = [float(p) for p in candidates(part.values, part.costs)]
    keeping = [p for p in prices if outcome(part, p)[1] >= wanted]
    if keeping:
        found = calibrate(part, None, kept)
        assert found.lambda_cost == max(keeping)
        assert found.accuracy >= wanted
    else:
        with pytest.raises(VoVNetError, match="no lambda reaches"):
            calibrate(part, None, kept)


@given(SEEDS)
def test_between_two_candidates_no_decision_changes(seed: int) -> None:
    part = questions(seed, 15)
    prices = candidates(part.values, part.costs)
    for low, high in pairwise(prices):
        middle = (low + high) / 2
        assert (choose(part.values, part.costs, low) == choose(part.values, part.costs, middle)).all()


def test_a_budget_that_no_lambda_meets_is_said() -> None:
    part = questions(0)
    dear = HeldOut("dear", part.values, part.scores, part.costs + 0.5, part.groups)
    with pytest.raises(VoVNetError, match=r"dear: no lambda reaches calibrate\.cost=0\.2 on 50"):
        calibrate(dear, 0.2, None)


def test_each_data_set_has_a_lambda_of_its_own() -> None:
    part = questions(1)
    names = ["a"] * 20 + ["b"] * 30
    parts = per_dataset(part, names)
    assert [(p.name, len(p.values)) for p in parts] == [("a", 20), ("b", 30)]
    assert np.array_equal(np.concatenate([p.scores for p in parts]), part.scores)
    assert per_dataset(part, ["a"] * 50) == []


def test_held_out_questions_are_those_that_training_validates_on(configure: Configure, tmp_path: Path) -> None:
    trained = configure("training.max_samples=60", "training.val_fraction=0.4", "training.seed=5")
    dataset = load_dataset(trained.dataset, "train")
    path = policy_file(trained, tmp_path / "policy.safetensors", data_fingerprint=dataset.fingerprint)
    config = configure(f"eval.checkpoint={path}")  # says nothing of the training, whose options are the file's
    part, names, file, leaks = held_out(config)
    assert leaks == []
    _, apart = split_groups([dataset[i].group for i in range(60)], 0.4, 5)
    assert set(part.groups.tolist()) == apart
    assert set(names) == {"easy_vqa"}
    assert file == path
    assert part.values.shape == part.scores.shape == part.costs.shape
    with pytest.raises(VoVNetError, match="calibrated for a trained policy"):
        held_out(configure("policy/baseline=no_vision"))


def test_a_policy_without_an_account_of_its_training_is_not_calibrated(configure: Configure, tmp_path: Path) -> None:
    fingerprint = load_dataset(configure().dataset, "train").fingerprint
    path = policy_file(configure(), tmp_path / "policy.safetensors", data_fingerprint=fingerprint)
    head, card = load_policy(path, find_checkpoint(configure().backbone))
    save_policy(path, head, replace(card, training_config=""))  # as older files are
    with pytest.raises(VoVNetError, match="does not say which questions it was not trained on"):
        held_out(configure(f"eval.checkpoint={path}"))


@pytest.mark.parametrize("damage", ['{"seed": 0}', '{"max_samples": 0, "val_fraction": 0.5, "seed": 0}',
                                    '{"max_samples": null, "val_fraction": 1e9, "seed": 0}'])  # fmt: skip
def test_damaged_training_options_are_one_sentence(configure: Configure, tmp_path: Path, damage: str) -> None:
    fingerprint = load_dataset(configure().dataset, "train").fingerprint
    path = policy_file(configure(), tmp_path / "policy.safetensors", data_fingerprint=fingerprint)
    head, card = load_policy(path, find_checkpoint(configure().backbone))
    save_policy(path, head, replace(card, training_config=damage))
    with pytest.raises(VoVNetError, match=r"the training options in policy file .* are damaged"):
        held_out(configure(f"eval.checkpoint={path}"))


@pytest.mark.parametrize("damage", ["{", "[1]", "null", '{"a": ' * 900 + "1" + "}" * 900])
def test_training_options_that_are_none_make_no_policy(configure: Configure, tmp_path: Path, damage: str) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    head, card = load_policy(path, find_checkpoint(configure().backbone))
    save_policy(path, head, replace(card, training_config=damage))
    with pytest.raises(VoVNetError, match=r"policy.safetensors is not a policy file \(.*\)"):
        load_policy(path, find_checkpoint(configure().backbone))


def test_a_policy_of_unknown_data_is_not_calibrated(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors", data_fingerprint="gone")
    with pytest.raises(VoVNetError, match="was trained on these questions is not known"):
        held_out(configure(f"eval.checkpoint={path}"))


def test_other_questions_are_calibrated_on_if_the_policy_has_not_seen_them(
    configure: Configure, easy_data: Path, tmp_path: Path
) -> None:
    seen = configure()
    fingerprint = load_dataset(seen.dataset, "train").fingerprint
    path = policy_file(seen, tmp_path / "policy.safetensors", data_fingerprint=fingerprint)
    other = Path(shutil.copytree(easy_data, tmp_path / "other"))
    shutil.rmtree(other / "train")
    shutil.copytree(easy_data / "test", other / "train")
    given = (f"eval.checkpoint={path}", f"dataset.path={other}", "training.max_samples=40", "training.val_fraction=0.5")
    part, _, _, leaks = held_out(configure(*given))
    assert [verdict["passed"] for verdict in leaks] == [True]
    dataset = load_dataset(configure(*given).dataset, "train")
    assert set(part.groups.tolist()) == split_groups([dataset[i].group for i in range(40)], 0.5, 0)[1]
    shutil.copy(easy_data / "train/images/3.png", other / "train/images/7.png")
    with pytest.raises(VoVNetError, match="is in the training data"):
        held_out(configure(*given))


def test_the_two_goals_exclude_each_other() -> None:
    with pytest.raises(VoVNetError, match="exclude each other"):
        compose_config("calibrate.cost=0.2", "calibrate.accuracy_kept=0.9", root="calibrate")
    with pytest.raises(VoVNetError, match=r"accuracy_kept=1.2 is refused"):
        compose_config("calibrate.accuracy_kept=1.2", root="calibrate")
