"""Composition: every option composes into the schema, and wrong input is explained in one sentence."""

from pathlib import Path

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from tests.composer import as_typed, by_hydra
from tests.conftest import compose_config
from vovnet.compose import config_hash
from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra, known_keys
from vovnet.options import conf_dir
from vovnet.schema import RunConfig

GROUPS = "backbone policy/baseline policy/objective vision_budget dataset eval training logger launcher".split()
OPTIONS = [(g, path.stem) for g in GROUPS for path in sorted((conf_dir() / g).glob("*.yaml"))]
EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    assert isinstance(compose_config(f"{group}={option}"), RunConfig)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name: str) -> None:
    assert isinstance(compose_config(f"+experiment={name}"), RunConfig)
    header = (conf_dir() / "experiment" / f"{name}.yaml").read_text().splitlines()[:3]
    assert any(f"+experiment={name}" in line for line in header)


@pytest.mark.parametrize("root", sorted(path.stem for path in conf_dir().glob("*.yaml")))
def test_every_root_composes(root: str) -> None:
    assert isinstance(compose_config(root=root), RunConfig)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("policy.lambda_cost=-1", "policy.lambda_cost=-1 is refused: input should be greater than or equal to 0"),
        ("policy.lambda_cost=nan", "policy.lambda_cost=nan is refused: input should be a finite number"),
        ("policy.lambda_cost=abc", "policy.lambda_cost='abc' is refused"),
        ("policy.feature_mode=all", "policy.feature_mode='all' is refused: input should be 'hidden'"),
        ("eval.batch_size=0", "eval.batch_size=0 is refused"),
        ("eval.batch_size=1.5", "eval.batch_size=1.5 is refused"),
        ("training.val_fraction=1", "training.val_fraction=1 is refused"),
        ("training.epochs=-3", "training.epochs=-3 is refused"),
        ("vision_budget.coarse.long_side=128", "vision_budget: coarse may not exceed full"),
        ("dataset.prompt_template=Hello", "dataset: prompt_template and open_template must contain {question}"),
        (
            "launcher=slurm launcher.gpus_per_node=true",
            "launcher.gpus_per_node=True is refused: input should",
        ),
        (
            "launcher=slurm launcher.gpus_per_node=0",
            "launcher.gpus_per_node=0 is refused: input should be greater",
        ),
        ("eval.max_samples=true", "eval.max_samples=True is refused: input should be a number, not a truth value"),
        (
            "dataset.prompt_template='{question}{foo}'",
            "dataset: a template shows {foo}, which is none of {Question}, {hint}",
        ),
        ("dataset.files.test=[../x]", "dataset.files.test.0: the pattern '../x' must name files below dataset.path"),
        ("name=../x", "name: '../x' is no name for a folder"),
        ("+policy.lambda_csot=1", "there is no configuration key policy.lambda_csot, did you mean policy.lambda_cost?"),
        ("~eval.split", "the configuration key eval.split is missing"),
    ],
)
def test_refusals_name_key_and_mend(override: str, sentence: str) -> None:
    with pytest.raises(VoVNetError) as caught:
        compose_config(*override.split())
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("policy.lambda_cost=0.3", "eval.split=train", "dataset=mini_mmmu"),
        ("training.backbone.lora.targets=[qkv]", "eval.batch_size=3", "name=other"),
        ("dataset=jsonl", "dataset.path='/a folder, b'", "dataset.files.test=[a/*.jsonl]"),
    ],
)
def test_what_other_tests_compose_is_what_hydra_composes(overrides: tuple[str, ...]) -> None:
    assert as_typed("eval", overrides) == by_hydra("eval", overrides)


def test_minus_zero_is_zero() -> None:
    """Or the same run would have two folders."""
    assert config_hash(compose_config("policy.lambda_cost=-0.0")) == config_hash(compose_config("policy.lambda_cost=0"))


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_sum_of_tenths_is_the_number_that_is_meant(tenths: int) -> None:
    """``range(0.1,1,0.1)`` sweeps over 0.30000000000000004: the same value, hash and folder as 0.3."""
    summed = sum([0.1] * tenths)
    pruned, keys = (
        "policy/baseline=vision_token_pruning_proxy",
        ("policy.baseline.pruning_ratio", "training.learning_rate"),
    )
    one, other = (compose_config(pruned, *(f"{key}={value!r}" for key in keys)) for value in (summed, tenths / 10))
    assert one == other
    assert one.training.learning_rate == tenths / 10  # type: ignore[union-attr]
    assert config_hash(one) == config_hash(other)


def test_numbers_that_are_meant_stay_as_they_are() -> None:
    for value in ("0.123456789012", "1e-12", "123456.789", "0.05"):
        assert compose_config(f"policy.lambda_cost={value}").policy.lambda_cost == float(value)


def test_sampling_and_beams_exclude_each_other() -> None:
    with pytest.raises(VoVNetError, match="exclude each other"):
        compose_config("eval.do_sample=true", "eval.num_beams=2")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("policy.lambda_csot=1", "there is no configuration key policy.lambda_csot, did you mean policy.lambda_cost?"),
        ("dataset=mmbench2", "dataset=mmbench2 does not exist; choose one of: "),
        ("+experiment=none", "experiment=none does not exist; choose one of: a0_train"),
    ],
)
def test_hydras_errors_become_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
        compose_config(override)
    assert explain_hydra(caught.value).startswith(sentence)
    assert "\n" not in explain_hydra(caught.value)


def test_the_backbone_brings_its_budget_and_order() -> None:
    assert compose_config().vision_budget.full.long_side == 64
    big = compose_config("backbone=qwen3_vl_8b")
    assert (big.vision_budget.full.long_side, big.backbone.prompt_order) == (1024, "image_first")
    assert big.backbone.name == "Qwen/Qwen3-VL-8B-Instruct"


def test_the_hash_follows_what_determines_results() -> None:
    base = config_hash(compose_config())
    for same in ("eval.batch_size=3", "eval.num_workers=2", "paths.runs=/elsewhere", "name=other"):
        assert config_hash(compose_config(same)) == base
    for other in ("policy.lambda_cost=0.2", "policy/baseline=no_vision", "training.seed=3", "eval.max_new_tokens=2"):
        assert config_hash(compose_config(other)) != base


def test_int_and_float_spellings_are_one_configuration() -> None:
    assert config_hash(compose_config("policy.lambda_cost=1")) == config_hash(compose_config("policy.lambda_cost=1.0"))


def test_known_keys_reach_the_leaves() -> None:
    assert {"policy.lambda_cost", "vision_budget.full.long_side", "training.epochs"} <= set(known_keys())


def test_yaml_files_are_small() -> None:
    assert all(len(path.read_text().splitlines()) <= 60 for path in Path(conf_dir()).rglob("*.yaml"))
