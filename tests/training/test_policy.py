"""Policy training: from the store, live, and what it leaves behind."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Configure
from vovnet.actions import USUAL, Action
from vovnet.data import item, load_dataset
from vovnet.data.mixture import split_groups
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.policy.checkpoint import load_policy
from vovnet.policy.find import find_policy
from vovnet.policy.fixed import Always
from vovnet.policy.head import PolicyHead
from vovnet.policy.objective import OutcomeBatch
from vovnet.policy.route import make_router
from vovnet.results.evaluate import evaluate
from vovnet.schema import RunConfig
from vovnet.training.module import VoVNetModule
from vovnet.training.policy import Trained, training_tensors
from vovnet.training.report import training_checks
from vovnet.training.stages import train_policy
from vovnet.vlm.files import find_checkpoint

LIVE = ("training.live=true", "training.backbone.batch_size=16", "training.backbone.micro_batch_size=8")
SMALL = ("training.max_samples=60", "training.epochs=3", "training.batch_size=16")


def train(config: RunConfig, folder: Path) -> Trained:
    return train_policy(config, config.training, folder)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("policy/objective=mixture",),
        ("policy/objective=mixture", "policy.use_straight_through=false", "policy.objective.loss=error"),
        ("policy.action_space=binary", "policy.feature_mode=hidden"),
    ],
)
def test_it_trains_and_its_file_loads(configure: Configure, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    config = configure(*SMALL, *overrides, root="train")
    trained = train(config, tmp_path / "run")
    head, card = load_policy(trained.path, find_checkpoint(config.backbone))
    assert (card.objective, card.action_space, card.feature_mode) == (
        config.policy.objective.name, config.policy.action_space, config.policy.feature_mode,
    )  # fmt: skip
    assert head.output.out_features == (2 if "binary" in str(overrides) else 3)
    assert trained.data.count == 60
    assert 0 <= trained.metrics["val/acc"] <= 1


def test_the_same_seed_gives_the_same_file(configure: Configure, tmp_path: Path) -> None:
    files = [train(configure(*SMALL, root="train"), tmp_path / name).path.read_bytes() for name in "ab"]
    other = train(configure(*SMALL, "training.seed=1", root="train"), tmp_path / "c").path.read_bytes()
    assert files[0] == files[1] != other


def test_a_second_training_collects_nothing(configure: Configure, tmp_path: Path) -> None:
    first = train(configure(*SMALL, root="train"), tmp_path / "a")
    second = train(configure(*SMALL, "training.seed=5", "training.epochs=1", root="train"), tmp_path / "b")
    assert first.computed["full"] == 60
    assert set(second.computed.values()) == {0}


def test_checkpoints_hold_no_backbone(configure: Configure, tmp_path: Path) -> None:
    train(configure(*SMALL, *LIVE, "training.epochs=1", root="train"), tmp_path / "run")
    (best,) = (tmp_path / "run/steps").glob("stage2-best-step=*.ckpt")
    saved = torch.load(best, weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in saved} == {"head"}


def test_live_branches_equal_stored_ones(configure: Configure) -> None:
    config = configure("dataset.name=easy_vqa")
    dataset = load_dataset(config.dataset, "train")
    items = [item(dataset, i) for i in range(12)]
    router = make_router(config, dataset, Always(*USUAL))
    module = VoVNetModule(PolicyHead(50, 8, 3, True), config.policy, config.menu, config.training, router)  # type: ignore[arg-type]
    with torch.no_grad():
        live = module.live_outcomes(items)
    stored_config = configure("eval.split=train")
    stored = load_outcomes(stored_config, find_checkpoint(config.backbone), dataset, USUAL, 12, with_nll=True).outcomes
    assert np.allclose(live.nll, stored.stacked("nll", USUAL), atol=1e-4)
    assert np.array_equal(live.score, stored.stacked("score", USUAL))
    assert np.allclose(live.cost, stored.stacked("vision_tokens", USUAL) / 64)
    assert np.allclose(live.features[:, :48], stored.text.hidden.take(np.arange(12)), atol=1e-5)


def test_gradients_reach_a_trainable_backbone(configure: Configure) -> None:
    config = configure("policy/objective=mixture")
    dataset = load_dataset(config.dataset, "train")
    items = [item(dataset, i) for i in range(4)]
    router = make_router(config, dataset, Always(*USUAL))
    router.backbone.requires_grad_(True)
    try:
        module = VoVNetModule(PolicyHead(50, 8, 3, False), config.policy, config.menu, config.training, router)  # type: ignore[arg-type]
        module.loss(module.live_outcomes(items), 0.1).backward()
        vision = router.backbone.model.model.visual.patch_embed.proj.weight
        assert vision.grad is not None
        assert float(vision.grad.abs().sum()) > 0
    finally:
        router.backbone.zero_grad(set_to_none=True)
        router.backbone.requires_grad_(False)


def test_a_module_without_backbone_says_so(configure: Configure) -> None:
    config = configure()
    module = VoVNetModule(PolicyHead(50, 8, 3, True), config.policy, config.menu, config.training)  # type: ignore[arg-type]
    with pytest.raises(VoVNetError, match="needs the backbone"):
        module.predict_step(([], []), 0)


def test_predict_step_routes_live(configure: Configure) -> None:
    config = configure()
    dataset = load_dataset(config.dataset, "test")
    router = make_router(config, dataset, Always(Action.COARSE))
    module = VoVNetModule(PolicyHead(50, 8, 3, True), config.policy, config.menu, config.training, router)  # type: ignore[arg-type]
    with torch.inference_mode():
        routed = module.predict_step(([item(dataset, 0)], []), 0)
    assert routed.actions.tolist() == [int(Action.COARSE)]
    assert routed.cost.tolist() == [4 / 64]


def test_the_newest_fitting_policy_is_found(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, root="train")
    runs = Path(config.paths.runs)
    checkpoint = find_checkpoint(config.backbone)
    with pytest.raises(VoVNetError, match=r"no trained policy under .* run `python -m experiments.train`"):
        find_policy(config, checkpoint)
    first = train(config, runs / "train/a").path
    assert find_policy(config, checkpoint) == first
    second = train(config, runs / "train-sweep/b").path  # where a training sweep leaves it
    assert find_policy(config, checkpoint) == second
    (runs / "train/junk").mkdir()
    (runs / "train/junk/policy.safetensors").write_bytes(b"junk")
    assert find_policy(config, checkpoint) == second
    assert find_policy(configure(f"eval.checkpoint={runs / 'train'}"), checkpoint) == first  # of several trainings
    with pytest.raises(VoVNetError, match=r"no trained policy under .*train fits"):
        find_policy(configure(f"eval.checkpoint={runs / 'train'}", "training.seed=1"), checkpoint)
    for other in (
        "policy.action_space=binary", "policy.feature_mode=hidden", "policy/objective=mixture", "training.seed=1",
        "backbone.prompt_order=sandwich", "vision_budget.full.long_side=56", "policy.hidden_size=9",
    ):  # fmt: skip
        key = other.partition("=")[0].removesuffix(".long_side")
        with pytest.raises(VoVNetError, match=rf"no trained policy.* was trained with {key}=[^=]*; "):
            find_policy(configure(other), checkpoint)
    for other, mend in (("policy.action_space=binary", "set policy.action_space=ternary"),
                        ("policy/objective=mixture", "set policy/objective=value")):  # fmt: skip
        with pytest.raises(VoVNetError, match=mend):
            find_policy(configure(other, f"eval.checkpoint={first}"), checkpoint)


def test_rows_describe_the_head_and_not_the_configuration(configure: Configure, tmp_path: Path) -> None:
    given = ("policy/objective=mixture", "policy.lambda_cost=0.3", "training.seed=7")
    trained = train(configure(*SMALL, *given, root="train"), tmp_path / "run")
    small = (f"eval.checkpoint={trained.path}", "eval.max_samples=20", "policy/objective=mixture")
    rows = [evaluate(configure(*small, f"policy.lambda_cost={lam}"), tmp_path / "eval").row for lam in (0, 0.1)]
    assert [(r.seed, r.trained_lambda, r.lambda_cost) for r in rows] == [(7, 0.3, 0), (7, 0.3, 0.1)]
    assert rows[0].config_hash != rows[1].config_hash
    again = train(configure(*SMALL, *given, "training.epochs=1", root="train"), tmp_path / "again")
    other = evaluate(configure(*small, f"eval.checkpoint={again.path}", "policy.lambda_cost=0"), tmp_path / "eval").row
    assert other.config_hash != rows[0].config_hash


def test_another_prompt_template_is_said(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = train(configure(*SMALL, root="train"), tmp_path / "run")
    config = configure(f"eval.checkpoint={trained.path}", "dataset.prompt_template='Q: {question}'")
    find_policy(config, find_checkpoint(config.backbone))
    assert "dataset.prompt_template" in caplog.text


def test_too_few_questions_are_refused(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"raise training\.max_samples"):
        train(configure("training.max_samples=3", root="train"), tmp_path / "run")


def test_divergence_is_said(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"lower training\.learning_rate"):
        train(configure(*SMALL, "training.learning_rate=1e30", root="train"), tmp_path / "run")


def test_a_constant_feature_stays_small() -> None:
    head = PolicyHead(2, 4, 3, bounded=True)
    head.standardise(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert head.scale.tolist() == [1.0, 1.0]


def test_no_image_is_in_both_parts() -> None:
    groups = [str(i // 3) for i in range(99)]
    train_groups, val_groups = split_groups(groups, 0.1, seed=0)
    assert not train_groups & val_groups
    assert train_groups | val_groups == set(groups)
    assert len(val_groups) == 3
    assert split_groups(groups, 0.1, seed=1)[1] != val_groups


def test_validation_uses_whole_images_only(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, "training.val_fraction=0.3", root="train")
    trained = train(config, tmp_path / "run")
    groups = [str(r[2]) for r in json.loads((Path(config.dataset.path or "") / "train/questions.json").read_text())][
        :60
    ]
    _, held_out = split_groups(groups, 0.3, config.training.seed)
    assert len(trained.data.val) == sum(group in held_out for group in groups)


def test_stored_training_uses_no_backbone(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name, loads in (("a", True), ("b", False)):
        caplog.clear()
        train(configure(*SMALL, root="train"), tmp_path / name)
        assert ("loading backbone" in caplog.text) == loads


def test_outcome_batch_moves_as_a_whole() -> None:
    batch = OutcomeBatch(*(torch.zeros(2, n) for n in (4, 3, 3, 3)))
    module = VoVNetModule.__new__(VoVNetModule)
    moved = VoVNetModule.transfer_batch_to_device(module, batch, torch.device("cpu"), 0)
    assert isinstance(moved, OutcomeBatch)


def test_a_refusal_teaches_nothing_however_it_is_scored(configure: Configure) -> None:
    config = configure("eval.max_samples=6")
    checkpoint, dataset = find_checkpoint(config.backbone), load_dataset(config.dataset, "test")
    outcomes = load_outcomes(config, checkpoint, dataset, USUAL, 6).outcomes
    right = {a: replace(o, score=np.ones(6), refused=np.arange(6) < int(a)) for a, o in outcomes.branches.items()}
    learned = training_tensors(config, checkpoint, replace(outcomes, branches=right)).score
    assert learned.tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], *[[1.0, 1.0, 1.0]] * 4]


@pytest.mark.parametrize("live", [(), (*LIVE, "training.epochs=1")])
def test_learning_from_answers_that_cannot_be_read_is_said(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture, live: tuple[str, ...]
) -> None:
    config = configure(*SMALL, *live, root="train")
    trained = train(config, tmp_path)
    assert set(trained.unread) == {"NO", "COARSE", "FULL"}
    assert min(trained.unread.values()) > 0.5  # the backbone is untrained
    assert "of the answers that the policy learns from, many could not be read" in caplog.text
    checks = {check.name: check.passed for check in training_checks(config, trained, tmp_path)}
    assert [passed for name, passed in checks.items() if "unreadable" in name] == [False]
