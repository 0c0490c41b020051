"""Each rule is true: another value of its key gives the same results, and it is silent where it need not."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

import experiments.collect
import experiments.match
import experiments.train
from tests.composer import small_configurations
from tests.conftest import Configure
from tests.policy.test_route import policy_file
from vovnet.no_effect import RULES, key_of, no_effect_lines, without_effect
from vovnet.no_effect.rule import Rule
from vovnet.results.evaluate import evaluate
from vovnet.schema import RunConfig
from vovnet.training.stages import train_policy

MEASURED = (
    "num_samples action_ratio accuracy official_score avg_cost avg_vision_tokens avg_text_tokens avg_patches "
    "avg_generated_tokens prefill_gflops ece unparsed_rate fallback_trigger_rate"
).split()
SMALL = ("training.max_samples=40", "training.epochs=1", "training.batch_size=16")
MIXTURE, BINARY = "policy/objective=mixture", "policy.action_space=binary"
UNCERTAIN = "policy/baseline=uncertainty_threshold policy.baseline.threshold=2"
RANDOM = "policy/baseline=random_policy_matched policy.baseline.target_ratios=[0.2,0.3,0.5]"
FALLBACK = "policy.fallback_mode=coarse policy.fallback_entropy_threshold=1"
FULL, NO, ORACLE = (f"policy/baseline={name}" for name in ("always_full", "no_vision", "oracle"))
SAMPLED = "eval.do_sample=true eval.temperature=3"
STAGE1 = "training.stage1_epochs=1"


@dataclass(frozen=True)
class Case:
    """A key with two values under a condition, and what else is configured where it has an effect.

    Attributes:
        differs: outputs are compared there too, and are not the same.
    """

    command: str
    setup: str
    key: str
    values: tuple[str, str]
    instead: str | None = None
    differs: bool = False


def case(command: str, setup: str, setting: str, instead: str | None = None, differs: bool = False) -> Case:
    key, _, values = setting.partition("=")
    one, other = values.split("|")
    return Case(command, setup, key, (one, other), instead, differs)


EVALUATED = [
    case("eval", FULL, "policy.lambda_cost=0|1", ""),
    case("eval", ORACLE, "policy.lambda_cost=0|9", f"{ORACLE} policy.baseline.rule=utility"),
    case("eval", RANDOM, "policy.feature_mode=hidden|hidden_margin", ""),
    case("eval", "policy/baseline=cascade", "policy.hidden_size=8|16", ""),
    case("eval", UNCERTAIN, "policy/objective=value|mixture", ""),
    case("eval", UNCERTAIN, "policy.action_space=binary|ternary", ORACLE),
    case("eval", FULL, "eval.checkpoint=a|b", ""),
    case("eval", FULL, "training.seed=0|1", ""),
    case("eval", RANDOM, "policy.baseline.match_lambda=0.1|0.2"),
    case("eval", RANDOM, "policy.baseline.buckets=true|false"),
    case("eval", RANDOM, "policy.baseline.bucket_thresholds=[0,1]|[1,2]"),
    case("eval", "policy/baseline=cascade", "policy.full_pruning_mode=stride|merge", "policy.full_pruning_ratio=0.5"),
    case(
        "eval",
        "policy/baseline=vision_token_pruning_proxy policy.baseline.pruning_ratio=1",
        "policy.baseline.pruning_mode=stride|merge",
        "policy/baseline=vision_token_pruning_proxy",
        differs=True,
    ),
    case("eval", "policy/baseline=vision_token_pruning_proxy", "policy.full_pruning_ratio=0.25|0.5", ORACLE),
    case("eval", FULL, "policy.full_pruning_ratio=0.25|0.5", "policy/baseline=cascade"),
    case("eval", f"{UNCERTAIN} policy.baseline.vision=coarse", "policy.full_pruning_ratio=0.25|0.5", UNCERTAIN),
    case("eval", FULL, "vision_budget.coarse.long_side=8|16", "policy/baseline=always_coarse", differs=True),
    case("eval", f"{ORACLE} {BINARY}", "vision_budget.coarse.max_pixels=64|256", ORACLE),
    case("eval", NO, "vision_budget.full.long_side=32|64", FULL, differs=True),
    case("eval", NO, "backbone.prompt_order=text_first|image_first", FULL, differs=True),
    case("eval", NO, "eval.cache_reuse=true|false", UNCERTAIN),
    case("eval", f"{UNCERTAIN} backbone.prompt_order=sandwich", "eval.cache_reuse=true|false", UNCERTAIN),
    case("eval", FULL, "eval.temperature=0.5|5", f"{FULL} eval.do_sample=true", differs=True),
    case("eval", FULL, "eval.seed=0|1", f"{FULL} {SAMPLED}", differs=True),
    case("eval", f"{FULL} eval.random_fallback=true", "eval.seed=0|1"),
    case("eval", FULL, "eval.random_fallback=true|false", "dataset=mini_mmmu"),
    case("eval", f"{NO} eval.mode=live", "eval.chunk_rows=8|16", NO),
    case("eval", f"{NO} eval.mode=live", "eval.num_shards=1|2", NO),
    case("eval", FULL, "training.epochs=1|2"),
    case("eval", f"{FULL} trainer=ddp", "trainer.devices=2|3", f"{FULL} launcher=slurm"),
    case("eval", f"{FULL} trainer=ddp", "trainer.devices=2|3", f"{FULL} eval.mode=live"),
    case("eval", FULL, "backbone.revision=a|b"),
    case("eval", FULL, "backbone.cuda_graphs=true|false", "backbone.device=auto"),
    case("eval", "", "policy.use_straight_through=true|false", MIXTURE),
    case("eval", MIXTURE, "policy.objective.temperature=1|2"),
    case("eval", "eval.checkpoint={policy}", "training.seed=0|1", ""),
]
TRAINED = [
    case("train", "", "policy.use_straight_through=true|false", MIXTURE),
    case("train", "", "policy.lambda_cost=0|0.05", MIXTURE),
    case("train", "", "policy.cost_unit=tokens|flops", MIXTURE),
    case("train", "", "training.lambda_warmup_fraction=0|0.5", MIXTURE),
    case("train", "", "policy.objective.loss=nll|error", MIXTURE, differs=True),
    case("train", "policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.1|1"),
    case("train", "", "policy.interpolate=0|2"),
    case("train", "policy.fallback_mode=full policy.fallback_entropy_threshold=1", "policy.fallback_mode=full|coarse"),
    case("train", "", "eval.seed=0|1", SAMPLED),
    case("train", "", "training.stage1_baseline_name=always_full|no_vision", STAGE1),
    case("train", "", "training.backbone.lora.rank=4|8", STAGE1),
    case("train", "", "training.backbone.precision=32-true|16-mixed", "training.live=true"),
]
COLLECTED = [
    case("collect", "trainer=ddp", "trainer.devices=2|3", "launcher=slurm"),
    case("collect", "", "policy.lambda_cost=0|1"),
    case("collect", "", "policy.hidden_size=8|16"),
    case("collect", FALLBACK, "policy.fallback_entropy_threshold=1|2", f"{UNCERTAIN} {FALLBACK}"),
    case("collect", UNCERTAIN, "policy.baseline.threshold=0.1|0.2"),
    case("collect", "", "eval.num_shards=1|2", "eval.num_shards=2 eval.shard=0"),
    case("collect", "", "eval.mode=replay|live"),
    case("collect", f"{ORACLE} {BINARY}", "vision_budget.coarse.long_side=8|16", ORACLE),
]
# What these commands read is in plain sight in their entry points; here, that the rule speaks and is silent.
NAMED = [
    case("collect", "", "policy.fallback_mode=coarse|full", UNCERTAIN),
    case("train", "", "policy.objective.temperature=1|2", MIXTURE),
    case("train", "", "eval.split=train|test"),
    case("train", "", "eval.checkpoint=null|x"),
    case("train", "", "eval.random_fallback=true|false"),
    case("train", "", "logger.project=null|x", "logger=wandb"),
    case("eval", "", "logger.project=null|x", "logger=wandb"),
    case("collect", "", "logger=csv|tensorboard"),
    case("train", "", "training.stage1_backbone=lora|full", STAGE1),
    case("train", "", "training.backbone.gradient_checkpointing=true|false", STAGE1),
    case("train", "", "training.backbone.batch_size=16|64", "training.live=true"),
    case("train", f"{STAGE1} training.stage1_backbone=full", "training.backbone.lora.rank=4|8", STAGE1),
    case("train", "training.stage2_backbone=lora", "training.live=true|false", ""),
    case("train", "training.live=true", "training.batch_size=1|2", ""),
    case("eval", "dataset=mmbench dataset.path=/x", "dataset.hub.id=a|b", "dataset=mmbench dataset.path=null"),
    case("eval", "backbone.path=null", "backbone.revision=a|b", "backbone=qwen3_vl_8b backbone.path=null"),
    case("eval", "backbone.path=/x/imported/a", "eval.max_new_tokens=1|2", ""),
    case("calibrate", "", "policy.lambda_cost=0|1"),
    case("calibrate", "", "eval.split=train|test"),
    case("calibrate", "", "training.epochs=1|2"),
    case("calibrate", "", "eval.seed=0|1", SAMPLED),
    case("oracle", "", "training.seed=0|1"),
    case("profile", "", "leaks.allow=[image]|[]"),
    case("profile", "", "eval.batch_size=1|2"),
    case("profile", "", "eval.num_workers=1|2"),
    case("profile", "", "eval.num_shards=1|2"),
    case("report", "", "dataset.path=a|b"),
    case("store", "", "policy.lambda_cost=0|1"),
    case("prepare", "", "policy.lambda_cost=0|1"),
    case("match", "", "policy.baseline.seed=0|1"),
    case("match", "", "backbone.dtype=float32|bfloat16"),
    *(case("eval", "", f"+{name}.x=0|1") for name in "store prepare profile calibrate report pipeline".split()),
]
ALL = [*EVALUATED, *TRAINED, *COLLECTED, *NAMED]


@pytest.fixture(scope="module")
def compose(easy_data: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Configure:
    """Configurations whose outcomes are collected once for all."""
    return small_configurations(easy_data, qwen3, tmp_path_factory.mktemp("rules") / "runs")


@pytest.fixture(scope="module")
def config_of(compose: Configure, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], RunConfig]:
    known: dict[tuple[str, str], RunConfig] = {}
    policy = tmp_path_factory.mktemp("policy") / "policy.safetensors"

    def made(command: str, overrides: str) -> RunConfig:
        if (command, overrides) not in known:
            if "{policy}" in overrides and not policy.exists():
                policy_file(compose("eval.max_samples=8"), policy)
            filled = overrides.replace("{policy}", str(policy)).split()
            sizes = SMALL if command == "train" and "tiny" not in overrides else ("eval.max_samples=8",)
            known[command, overrides] = compose(*sizes, *filled, root=command)
        return known[command, overrides]

    return made


@pytest.fixture(scope="module")
def outputs(
    config_of: Callable[[str, str], RunConfig], compose: Configure, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], object]:
    """What a command leaves, without what it says of its own settings."""
    known: dict[tuple[str, str], object] = {}

    def run(command: str, overrides: str) -> object:
        config, folder = config_of(command, overrides), tmp_path_factory.mktemp("run")
        if command == "eval":
            mode = "policy/objective=mixture" if MIXTURE in overrides else ""
            if "policy/baseline" not in overrides and "{policy}" not in overrides:
                one = config_of("eval", mode)
                policy_file(config, Path(one.paths.runs) / f"train{len(known)}/policy.safetensors")
            row = asdict(evaluate(config, folder).row)
            return [row[name] for name in MEASURED], (folder / "predictions.jsonl").read_bytes()
        if command == "train":
            if "policy/baseline" in overrides:
                experiments.train.run(config, folder)
            else:  # the same without its figures
                train_policy(config, config.training, folder)
            weights = load_file(folder / "policy.safetensors")
            return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}
        return dict.fromkeys(experiments.collect.run(config, folder)["rows_computed"], 0)

    def remembered(command: str, overrides: str) -> object:
        same = command, repr(config_of(command, overrides))
        if same not in known:
            known[same] = run(command, overrides)
        return known[same]

    return remembered


def label(one: Case) -> str:
    return f"{one.command} {one.setup} {one.key}".replace("policy/baseline=", "")


def reasons(one: Case, config: RunConfig) -> list[Rule]:
    return [rule for _, rule in without_effect(one.command, config, [key_of(one.key)])]


@pytest.mark.parametrize("one", ALL, ids=map(label, ALL))
def test_a_rule_speaks_under_its_condition_only(one: Case, config_of: Callable[[str, str], RunConfig]) -> None:
    setup = "" if one.key.startswith("+") else one.setup
    assert len(reasons(one, config_of(one.command, setup))) == 1
    if one.instead is not None:
        assert reasons(one, config_of(one.command, one.instead)) == []


RUN = [*EVALUATED, *TRAINED, *COLLECTED]


@pytest.mark.parametrize("one", RUN, ids=map(label, RUN))
def test_another_value_gives_the_same_results(
    one: Case, outputs: Callable[[str, str], object], config_of: Callable[[str, str], RunConfig]
) -> None:
    def changed(setup: str) -> str:
        overrides = (f"{setup} {one.key}={value}" for value in reversed(one.values))
        return next(given for given in overrides if config_of(one.command, given) != config_of(one.command, setup))

    assert outputs(one.command, one.setup) == outputs(one.command, changed(one.setup))
    if one.differs:
        assert one.instead is not None
        assert outputs(one.command, one.instead) != outputs(one.command, changed(one.instead))


def test_a_fallback_is_not_idle_under_a_baseline_that_always_looks(
    outputs: Callable[[str, str], object], compose: Configure
) -> None:
    given = f"{FULL} {FALLBACK}".split()
    assert list(lines(compose(*given), *given)) == []
    assert outputs("eval", FULL) != outputs("eval", " ".join(given))  # the text pass is read and paid for


@pytest.mark.parametrize(
    ("setup", "keys"),
    [
        (FULL, "policy/baseline"),
        (UNCERTAIN, "policy/baseline policy.baseline.vision"),
        (RANDOM, "policy/baseline policy.baseline.target_ratios policy.baseline.match policy.baseline.bucket_ratios"),
        (f"{UNCERTAIN} {FALLBACK}", "policy.fallback_mode policy.fallback_entropy_threshold"),
    ],
)
def test_a_collection_reads_what_a_baselines_branches_follow_from(
    setup: str, keys: str, config_of: Callable[[str, str], RunConfig]
) -> None:
    given = [key_of(key) for key in keys.split()]
    assert list(without_effect("collect", config_of("collect", setup), given)) == []


def test_a_value_that_changes_figures_of_a_training_is_not_reported(config_of: Callable[[str, str], RunConfig]) -> None:
    config = config_of("train", "policy.lambda_cost=0.2")
    assert no_effect_lines("train", config, ["policy.lambda_cost=0.2"], is_stage=False) == []
    assert [key for key, _ in without_effect("train", config, ["policy.lambda_cost"])] == ["policy.lambda_cost"]


def test_every_command_loads_the_rules_and_no_arrays() -> None:
    heavy = "{'numpy', 'pyarrow', 'torch', 'vovnet.data', 'vovnet.policy.checkpoint'}"
    code = f"import sys, vovnet.launch; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_rule_has_a_case(config_of: Callable[[str, str], RunConfig]) -> None:
    spoken = set(
        itertools.chain.from_iterable(
            reasons(one, config_of(one.command, "" if one.key.startswith("+") else one.setup)) for one in ALL
        )
    )
    assert [f"{rule.keys}: {rule.why}" for rule in RULES if rule not in spoken] == []


class Unread:
    """Stands for a part of a configuration that must not be looked at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"{name} was read")


def test_matching_reads_a_run_and_its_own_keys_only(compose: Configure, tmp_path: Path) -> None:
    config = compose("policy.baseline.target_ratios=[0.2,0.3,0.5]", root="match")
    for name in ("backbone", "vision_budget", "training", "leaks", "trainer", "logger"):
        object.__setattr__(config, name, Unread())
    assert experiments.match.run(config, tmp_path).ratios == ((0.2, 0.3, 0.5),)


def lines(config: RunConfig, *overrides: str, is_stage: bool = False) -> Iterator[str]:
    yield from no_effect_lines("eval", config, overrides, is_stage)


def test_a_line_for_each_reason_and_none_for_keys_that_were_not_given(compose: Configure) -> None:
    config = compose(FULL)
    assert list(lines(config)) == []
    assert list(lines(config, FULL, "eval.max_samples=8", "+eval.nothing=1")) == []
    assert list(lines(config, "policy/objective=mixture", "++policy.hidden_size=8", "training.epochs=3")) == [
        "policy/objective, policy.hidden_size: no effect here, policy/baseline decides and has no head",
        "training.epochs: no effect here, only experiments.train reads it",
    ]
    # A pipeline hands the keys of other stages on; what this stage itself makes void is said all the same.
    assert list(lines(config, "training.epochs=3", "policy.hidden_size=8", is_stage=True)) == [
        "policy.hidden_size: no effect here, policy/baseline decides and has no head"
    ]
