"""Wrong overrides through the entry points: one sentence, status 1, no traceback."""

import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from experiments.eval import finish, run, show
from tests.composer import composed
from tests.conftest import compose_config
from vovnet.compose import to_typed
from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra
from vovnet.launch import launch

WRONG = [
    "dataset.prompt_template=''", "dataset.open_template=''", "policy=null", "dataset=mini dataset.path=/tmp",
    "paths.store=''", "paths.runs=''", "name=../escape", "name=a/b", "name=''", "name=..",
    "policy.lambda_cost=true", "eval.max_samples=true", "training.seed=false", "policy.lambda_cost=1e308",
    "eval.temperature=1e-300", "policy.objective.temperature=1e300", "policy.hidden_size=1000000000000",
    "eval.max_new_tokens=1000000000", "training.backbone.lora.rank=1000000000", "eval.max_samples=99999999999999999999",
    "policy/baseline=uncertainty_threshold policy.baseline.threshold=1e308",
    "dataset.files.test=[../x]", "dataset.files.test=[/etc/hostname]", "dataset.files.test=[a**b]",
    "dataset.files.test=['']", "dataset.files.test=['**']", "dataset.files.test=[a,b]", "dataset.files.test=[]",
    "dataset.files.test=[nowhere.json]", "dataset.prompt_template='{question}{foo}'",
    "policy.lambda_csot=1", "+policy.lambda_csot=1", "policy.lambda_cost=-0.1", "policy.lambda_cost=nan",
    "policy.lambda_cost=inf", "policy.lambda_cost=x", "policy.lambda_cost=[1]", "policy.lambda_cost=null",
    "policy.hidden_size=0", "policy.hidden_size=1.5", "policy.feature_mode=all", "policy.action_space=quaternary",
    "policy.fallback_mode=full", "policy.fallback_entropy_threshold=1", "policy.fallback_mode=no",
    "policy.use_straight_through=maybe", "policy/objective=none", "policy/baseline=never",
    "policy.baseline.threshold=0.1", "policy/baseline=cascade policy.baseline.threshold=1.1",
    "policy/baseline=cascade policy.baseline.threshold=nan",
    "policy/baseline=uncertainty_threshold policy.baseline.threshold=-1",
    "policy/baseline=uncertainty_threshold policy.baseline.uncertainty=mood",
    "policy/baseline=vision_token_pruning_proxy policy.baseline.pruning_ratio=0",
    "policy/baseline=vision_token_pruning_proxy policy.baseline.pruning_ratio=1.01",
    "policy/baseline=vision_token_pruning_proxy policy.baseline.pruning_mode=all",
    "policy/baseline=random_policy_matched policy.baseline.target_ratios=[0.5,0.5]",
    "policy/baseline=random_policy_matched policy.baseline.target_ratios=[0.5,0.5,0.5]",
    "policy/baseline=random_policy_matched policy.baseline.target_ratios=[]",
    "policy/baseline=random_policy_matched policy.baseline.target_ratios=[1,0,0] policy.baseline.match=x",
    "policy/baseline=resolution_scaling policy.baseline.long_side=0", "policy/baseline=oracle policy.baseline.rule=all",
    "eval.batch_size=0", "eval.batch_size=-1", "eval.batch_size=two", "eval.seed=-1", "eval.seed=4294967296",
    "eval.max_samples=0", "eval.split=dev", "eval.mode=dream", "eval.temperature=0", "eval.temperature=inf",
    "eval.num_beams=0", "eval.do_sample=true eval.num_beams=2", "eval.shard=1", "eval.num_workers=257",
    "eval.checkpoint=a eval.ddp_checkpoint_path=b", "eval=???", "eval.split=???", "training.seed=-1",
    "training.val_fraction=0", "training.val_fraction=1", "training.learning_rate=nan", "training.epochs=0",
    "training.backbone.lora.rank=0", "training.backbone.lora.targets=[]", "training.backbone.precision=8-true",
    "trainer.devices=0", "trainer.devices=2", "vision_budget.coarse.long_side=0", "vision_budget.full.max_pixels=1",
    "backbone=gpt", "backbone.dtype=float8", "backbone.device=tpu", "backbone.path=/nowhere", "backbone.path=/etc",
    "backbone.path=~nobody-here/x", "backbone.adapter=/nowhere", "backbone.prompt_order=last", "dataset=imagenet",
    "dataset.path=/nowhere", "dataset.path=~nobody-here/x", "dataset.on_error=ignore", "dataset.prompt_template=Hi",
    "dataset.prompt_template=null", "dataset=mmbench dataset.path=/etc/hostname", "dataset=jsonl", "leaks.allow=[all]",
    "launcher=cloud", "logger=paper", "eval.checkpoint=/nowhere", "eval.checkpoint=/etc/hostname",
    "eval.ddp_checkpoint_path=/etc/hostname", "+experiment=z9", "policy.lambda_cost", "=1", "policy.lambda_cost=[0",
    "policy.lambda_cost=${nothing", "policy.lambda_cost='0", "policy.lambda_cost=a=b",
    "policy.lambda_cost=${nothing}", "policy.lambda_cost=${oc.env:NOT_SET_ANYWHERE}", "~policy", "~eval.seed",
]  # fmt: skip


THROUGH_LAUNCH = [
    "policy.lambda_csot=1",
    "policy.lambda_cost=nan",
    "dataset=imagenet",
    "eval.checkpoint=/nowhere",
    "=1",
    "policy.baseline.threshold=0.5",
    "--config a.yaml --pareto 0 0.1",
    "-m policy/baseline=no_vision policy.lambda_cost=0,1",
    "-m policy.lambda_cost=0,1 hydra.sweep.dir=x/${policy.lambda_cost}",
    "+experiment=question policy.lambda_cost=0,1",
    "-m hydra/launcher=joblib policy.lambda_cost=0,1",
    "-m hydra/launcher=submitit_local policy.lambda_cost=0,1",
    "-m hydra/sweeper=optuna policy.lambda_cost=0,1",
    "-m hydra/sweeper=basic policy.lambda_cost=0,1",
]
REFUSALS = (VoVNetError, HydraException, OmegaConfBaseException, ValueError)  # what ``launch`` turns into a sentence


@pytest.mark.parametrize("overrides", WRONG)
def test_every_wrong_override_is_one_sentence(overrides: str, tmp_path: Path) -> None:
    with pytest.raises(REFUSALS) as caught:
        run(to_typed(composed("eval", [f"paths.runs={tmp_path}/runs", *overrides.split(" ")])), tmp_path)
    error = caught.value
    sentence = str(error) if isinstance(error, VoVNetError) else explain_hydra(error)
    assert sentence
    assert "\n" not in sentence
    assert isinstance(error, VoVNetError | HydraException | OmegaConfBaseException) or "override" in sentence


@pytest.mark.parametrize("overrides", THROUGH_LAUNCH)
def test_the_entry_point_ends_with_it_and_status_1(
    overrides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where a sweep's folder is made
    monkeypatch.setattr(sys, "argv", ["eval", f"paths.runs={tmp_path}/runs", *overrides.split(" ")])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    with pytest.raises(SystemExit) as ended:
        launch("eval", run, show, finish)
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1


def test_idle_keys_are_reported_in_a_line_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [f"paths.runs={tmp_path}/runs", "policy/baseline=no_vision", "policy.lambda_cost=0.1"]
    monkeypatch.setattr(sys, "argv", ["eval", *given])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which ``launch`` sets
    seen: list[float] = []
    launch("eval", lambda config, *_: seen.append(config.policy.lambda_cost), lambda *_: None, finish)
    assert seen == [0.1]
    said = [line for line in capfd.readouterr().err.splitlines() if "no effect" in line]
    assert len(said) == 1
    assert said[0].endswith(
        "policy.lambda_cost: no effect here, of all baselines only oracle with rule=utility reads lambda"
    )


@pytest.mark.parametrize(
    ("override", "fix"),
    [
        ("paths.runs=${a", "close every bracket and brace, as in ${KEY} and [A,B]"),
        ("policy.lambda_cost=[0", "close every bracket and brace"),
        ("policy.lambda_cost='0", "close its quote"),
        ("policy.lambda_cost", "give it a value, KEY=VALUE"),
        ("name=a=b", "quote its value"),
    ],
)
def test_an_override_that_cannot_be_read_is_named_with_its_fix(override: str, fix: str) -> None:
    with pytest.raises(HydraException) as caught:
        compose_config(override)
    sentence = explain_hydra(caught.value)
    assert sentence.startswith(f"the override {override} cannot be read; ")
    assert fix in sentence


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "''"])
def test_a_jobs_folder_lies_in_its_sweeps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [f"paths.runs={tmp_path}/runs", f"hydra.sweep.subdir={name}", "eval.max_samples=4,8"]
    monkeypatch.setattr(sys, "argv", ["eval", "-m", *given])
    with pytest.raises(SystemExit) as ended:
        launch("eval", run, show, finish)
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert said.startswith(f"error: hydra.sweep.subdir={name} is no folder in the sweep's own; leave it out")
    assert not list(tmp_path.iterdir())  # before anything is written
