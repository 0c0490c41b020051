"""Names that a composition does not know: each gets ours, which composes, and never the name that was refused."""

import importlib
import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.commands import ROOT
from tests.composer import composed
from tests.conftest import compose_config
from vovnet.arguments import refuse_arguments, refused_flags
from vovnet.compose import to_typed
from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra, known_keys, unknown_key
from vovnet.options import RENAMED, TABLE, Renamed, conf_dir, groups, owners

SPECIFICATION = (
    "--config --dataset_config --output_dir --pareto --thresholds --uncertainty --vision --ratios --mode --max_samples "
    "--checkpoint policy.baseline_name policy.baseline_uncertainty policy.baseline_threshold policy.baseline_vision "
    "policy.baseline_target_ratios policy.baseline_seed policy.baseline_bucket_ratios "
    "policy.baseline_bucket_thresholds policy.baseline_pruning_ratio policy.baseline_pruning_mode data.train_jsonl "
    "data.eval_jsonl data.prompt_template eval.profile output_dir seed scripts.eval scripts.train_ddp "
    "scripts.pareto_threshold scripts.pareto_pruning scripts.oracle_action scripts.error_slices"
).split()


def refusal(*overrides: str, root: str = "eval") -> str:
    """What is said of overrides that do not compose."""
    with pytest.raises((VoVNetError, HydraException, OmegaConfBaseException)) as caught:
        compose_config(*overrides, root=root)
    error = caught.value
    return str(error) if isinstance(error, VoVNetError) else explain_hydra(error)


def test_every_name_of_the_specification_is_in_the_table() -> None:
    assert set(SPECIFICATION) <= RENAMED.keys()


def test_the_chinese_guide_shows_the_same_table() -> None:
    text = (ROOT / "experiments/README.zh.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", text, flags=re.MULTILINE))
    assert {row.name: row.typed("…") for row in TABLE}.items() <= shown.items()
    assert shown.keys() - RENAMED.keys() <= {"src/eval/matrix.evaluate_dataset"}


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_what_the_table_says_composes(row: Renamed) -> None:
    words = row.typed(row.example).split()
    if row.command is not None:
        assert words.pop(0) == f"experiments.{row.command}"
        assert importlib.import_module(f"experiments.{row.command}").run
    overrides = [word.partition(",")[0] if "=[" not in word else word for word in words if word != "-m"]
    assert to_typed(composed(row.command or "eval", overrides))


@pytest.mark.parametrize("row", [row for row in TABLE if not row.name.startswith("-")], ids=lambda row: row.name)
def test_a_key_of_the_specification_gets_ours(row: Renamed) -> None:
    value = row.example or "true"
    said = unknown_key(row.name, value)
    assert said.startswith(f"{row.name} is a name of the specification; write {row.typed(value)} instead")


@pytest.mark.parametrize("name", ["policy.baseline_seed", "use_cache", "scripts.eval"])
def test_a_composition_says_the_same(name: str) -> None:
    assert refusal(f"{name}=1") == RENAMED[name].sentence("1")
    assert refusal(f"+{name}=1", root="train").count("is a name of the specification") <= 1


def test_no_baseline_is_none() -> None:
    assert "write policy/baseline=none instead" in refusal("policy.baseline_name=null")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--pareto 0 0.05 eval.seed=1", "for --pareto 0 0.05 write -m policy.lambda_cost=0,0.05"),
        ("--dataset_config mmbench,mmmu", "for --dataset_config mmbench,mmmu write dataset=mmbench,mmmu"),
        ("--max-samples=20", "for --max-samples 20 write eval.max_samples=20"),
        ("--mode", "for --mode write policy/baseline=vision_token_pruning_proxy policy.baseline.pruning_mode=VALUE"),
        (
            "-m --config a.yaml --vision full",
            "for --config a.yaml write +experiment=a1_pareto (options are chosen one by one",
        ),
        ("--policy.lambda_cost 3", "write policy.lambda_cost=3"),
        ("--eval.mode live", "write eval.mode=live"),
        ("--seed 1", "write training.seed=1 instead"),
        ("--policy/baseline cascade", "write policy/baseline=cascade"),
        ("--policy.baseline cascade", "write policy/baseline=cascade"),
        ("--training=policy", "write training=policy"),
        ("--experiment a1", "write +experiment=a1, without dashes"),
        ("--checkpoint a.pt", "write eval.checkpoint=a.pt (a .pt file: eval.ddp_checkpoint_path)"),
        ("--lambda_cost=3", "did you mean policy.lambda_cost?"),
        ("--policy.baseline_name=cascade", "write policy/baseline=cascade instead"),
        ("--nonsense", "there is no flag --nonsense"),
    ],
)
def test_a_flag_gets_the_override(arguments: str, said: str) -> None:
    with pytest.raises(VoVNetError) as caught:
        refuse_arguments(arguments.split())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    ["--help", "-m", "--multi", "--cfg job", "-c job -p policy", "--config-name=eval", "--info all", "a=-1"],
)
def test_hydras_own_flags_pass(arguments: str) -> None:
    refuse_arguments(arguments.split())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "policy.baseline.threshold=0.5",
            "it belongs to policy/baseline=cascade or policy/baseline=uncertainty_thresh",
        ),
        ("+policy.baseline.pruning_ratio=1", "it belongs to policy/baseline=vision_token_pruning_proxy; choose that"),
        ("launcher.partition=gpu", "it belongs to launcher=slurm; choose that"),
        ("dataset.parts.llava.path=x", "it belongs to dataset=train_mix; choose that"),
        ("report.samples=1", "it is a key of experiments.report; run that command"),
        ("policy.baseline=always_full", "write policy/baseline=always_full"),
        ("++policy.objective=mixture", "write policy/objective=mixture"),
        ("policy.objective=fancy", "write policy/objective=OPTION, one of mixture, value"),
        ("baseline=cascade", "did you mean policy/baseline=cascade?"),
        ("+dataset=mmbench", "dataset has an option already; write dataset=mmbench, without a plus"),
        ("++trainer=ddp", "write trainer=ddp"),
        ("policy/lambda_cost=1", "write policy.lambda_cost=1, since a slash"),
        ("experiment=a1_pareto", "write +experiment=a1_pareto, with a plus"),
        ("policy.baseline.name=cascade", "policy.baseline.threshold is missing; choose policy/baseline=cascade"),
        ("launcher.kind=slurm", "choose launcher=slurm, which brings all its keys"),
        ("dataset=mmbench,mmmu", "holds several values; add -m"),
        ("policy.baseline=null", "does not choose an option; options take a slash, write policy/baseline=none"),
        ("policy/objective=", "policy/objective= does not exist; choose one of: mixture, value"),
        ("training.backbone.lora.r=8", "did you mean training.backbone.lora.rank?"),
        ("policy.baseline.treshold=1", "did you mean policy.baseline.threshold, with policy/baseline=cascade or"),
        ("pipeline.stages.0.sweep=true", "did you mean pipeline.stages, in experiments.pipeline?"),
        ("prepare.evaluation.a.path=x", "+dataset@prepare.evaluation.a=OPTION, in experiments.prepare"),
        ("dataset@prepare.evaluation.a=mini", "+dataset@prepare.evaluation.a=mini, in experiments.prepare"),
        (
            "launcher.additional_parameters.reservation=x",
            "+launcher.additional_parameters.reservation=x, with launcher=slurm",
        ),
        ("split=test", "did you mean eval.split?"),
        ("lora.rank=3", "did you mean training.backbone.lora.rank?"),
        ("backbone.attn=x", "did you mean backbone.attn_implementation?"),
        ("training.stage2=x", "did you mean training.stage2_backbone?"),
    ],
)
def test_a_key_of_another_option_names_the_option(override: str, said: str) -> None:
    sentence = refusal(override)
    assert said in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("group", [group for group in groups() if "/" not in group])
def test_an_option_with_a_plus_goes_without(group: str) -> None:
    for option in groups()[group][:1]:
        assert f"write {group}={option}" in (said := refusal(f"+{group}={option}")) or "leave the plus out" in said


@pytest.mark.parametrize("key", sorted({key for key in known_keys() if owners().get(key)}))
def test_the_named_option_has_the_key(key: str) -> None:
    sentence = unknown_key(key)
    assert f"did you mean {key}?" not in sentence
    named = owners()[key]
    assert all(name in sentence for name in named)
    # One of each is composed: a key of a group's option, and of a command.
    if key in ("policy.baseline.match", "launcher.setup", "dataset.hub.id", "runs", "training.phases"):
        for name in named:
            command, _, _ = name.removeprefix("experiments.").partition("=")
            overrides, root = ([], command) if name.startswith("experiments.") else ([name], "eval")
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                config = compose(root, overrides)
            OmegaConf.select(config, key, throw_on_missing=True)
            assert key.rpartition(".")[2] in (OmegaConf.select(config, key.rpartition(".")[0]) or config)


def test_a_flags_advice_is_taken_and_is_the_end_of_it() -> None:
    for group in groups():
        option = groups()[group][0]
        for flag in (f"--{group}", f"--{group.replace('/', '.')}"):
            assert refused_flags([flag, option]).endswith(f"write {group}={option}")


def test_only_leaves_are_suggested() -> None:
    sections = {key.rpartition(".")[0] for key in known_keys()}
    for key in known_keys()[::4]:
        named = re.findall(r"did you mean ([\w.]+\w)", unknown_key(key[:-2] + key[-1]))
        assert sections.isdisjoint(named)


@settings(max_examples=40)
@given(st.sampled_from(known_keys()), st.integers(0, 30), st.sampled_from(["", "x", "_", ".", "/"]))
def test_no_sentence_suggests_what_it_refuses(key: str, place: int, put: str) -> None:
    mutated = key[:place] + put + key[place + 1 :] if put else key
    sentence = unknown_key(mutated)
    suggested = re.findall(r"did you mean ([\w./]+)|write ([\w./]+)=", sentence)
    assert mutated not in {name for pair in suggested for name in pair}
    assert "\n" not in sentence
