"""A sweep whose swept key has no effect is refused before its first job; the guides' commands report no key."""

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from tests.composer import composed
from tests.experiments.test_guides import COMMANDS, entry
from vovnet.compose import to_typed
from vovnet.errors import VoVNetError
from vovnet.no_effect import no_effect_lines
from vovnet.options import conf_dir
from vovnet.sweep_folder import check_sweep


def jobs_of(overrides: Sequence[str]) -> list[list[str]]:
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [
        [f"{o.get_key_element()}={value}" for value in list(o.sweep_string_iterator())[:2]]  # two show it
        if o.is_sweep_override()
        else [str(o.input_line)]
        for o in parsed
    ]
    return [list(job) for job in itertools.product(*choices)]


def check(root: str, *overrides: str) -> None:
    check_sweep(root, jobs_of(overrides), partial(composed, root))


def stages() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each sweep that is a pipeline's stage and no experiment itself."""
    for path in sorted((conf_dir() / "experiment").glob("*.yaml")):
        for stage in (yaml.safe_load(path.read_text()) or {}).get("pipeline", {}).get("stages", ()):
            if stage["sweep"] and not any("+experiment" in o for o in stage["overrides"]):
                filled = (re.sub(r"\{folder\}[\w/]*", "x", o) for o in stage["overrides"])
                yield stage["entry"], tuple(re.sub(r"^(dataset=\w+),.*", r"\1", o) for o in filled)  # one shows it


OTHERWISE = ("ask", "preflight", "tiny_backbone")  # take their words otherwise than as overrides alone


def typed() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each command of the guides whose options are all given."""
    for command in COMMANDS:
        if "-m experiments." in command and not re.search("…|FOLDER|目录", command) and entry(command) not in OTHERWISE:
            yield entry(command), tuple(word for word in shlex.split(command)[3:] if word != "-m")


STAGES, TYPED = list(dict.fromkeys(stages())), list(dict.fromkeys(typed()))


@pytest.mark.parametrize(("root", "overrides"), STAGES, ids=[f"{root} {' '.join(o)}"[:80] for root, o in STAGES])
def test_a_pipelines_sweeps_are_run(root: str, overrides: tuple[str, ...]) -> None:
    check(root, *overrides)


@pytest.mark.parametrize(("root", "overrides"), TYPED, ids=[f"{root} {' '.join(o)}"[:80] for root, o in TYPED])
def test_what_the_guides_print_is_run_and_reports_no_key(root: str, overrides: tuple[str, ...]) -> None:
    job, *_ = jobs_of(overrides)
    config = composed(root, job)
    params = config.hydra.sweeper.params or {}
    if config.hydra.mode != RunMode.MULTIRUN and config.launcher.kind == "basic":  # the others sweep without -m
        params = {}
    jobs = jobs_of([*overrides, *(f"{key}={params[key]}" for key in params)])
    check_sweep(root, jobs, partial(composed, root))
    assert no_effect_lines(root, to_typed(composed(root, jobs[0])), jobs[0], is_stage=False) == []


@pytest.mark.parametrize(
    ("root", "overrides", "key"),
    [
        ("train", "policy.use_straight_through=true,false", "policy.use_straight_through"),
        ("train", "policy.lambda_cost=0,0.05", "policy.lambda_cost"),
        ("train", "policy/baseline=always_full,no_vision", "policy/baseline"),
        ("train", "policy/baseline=none,always_full", "policy/baseline"),
        ("train", "policy/baseline=always_full,none", "policy/baseline"),
        ("train", "training.backbone.lora.rank=4,8", "training.backbone.lora.rank"),
        ("eval", "policy/baseline=always_full policy/objective=value,mixture", "policy/objective"),
        ("eval", "policy/baseline=cascade eval.temperature=0.5,1", "eval.temperature"),
        ("eval", "policy/baseline=oracle,always_full policy.lambda_cost=0,0.1", "policy.lambda_cost"),
        ("eval", "eval.cache_reuse=true,false backbone=qwen3_vl_8b", "eval.cache_reuse"),
        ("oracle", "policy.lambda_cost=0,0.1", "policy.lambda_cost"),
        ("error_slices", "training.epochs=1,2", "training.epochs"),
        ("collect", "policy.hidden_size=8,16", "policy.hidden_size"),
        ("collect", "policy/baseline=cascade policy.baseline.threshold=0.1,0.2", "policy.baseline.threshold"),
        ("report", "dataset=mini,easy_vqa", "dataset"),
    ],
)
def test_a_swept_key_without_effect_is_refused(root: str, overrides: str, key: str) -> None:
    with pytest.raises(VoVNetError, match=f"^{re.escape(key)} is swept but has no effect here: ") as caught:
        check(root, *overrides.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("root", "overrides", "sentence"),
    [
        (
            "train",
            "policy/objective=mixture,value policy.lambda_cost=0,0.1",
            "policy.lambda_cost is swept but has no effect where policy/objective=value: ",
        ),
        (
            "eval",
            "policy/baseline=always_full,no_vision vision_budget=standard,tiny",
            "vision_budget is swept but has no effect where policy/baseline=no_vision: ",
        ),
        (
            "eval",
            "dataset=mini_mmbench,mini_mmmu eval.random_fallback=true,false policy/baseline=no_vision",
            "eval.random_fallback is swept but has no effect where dataset=mini_mmbench: ",
        ),
        (
            "eval",
            "policy/baseline=none,always_full policy.lambda_cost=0,0.1",
            "policy.lambda_cost is swept but has no effect where policy/baseline=always_full: ",
        ),
    ],
)
def test_a_mixed_sweep_names_the_jobs_in_which_a_key_is_idle(root: str, overrides: str, sentence: str) -> None:
    with pytest.raises(VoVNetError) as caught:
        check(root, *overrides.split())
    key = sentence.partition(" ")[0]
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(f"; sweep those jobs by themselves, with one value of {key}.")


def test_an_experiments_own_sweep_is_run_and_reports() -> None:
    given = ("+experiment=f2_cache_reuse", "backbone=qwen3_vl_8b")  # which looks before it reads
    check("eval", *given, "eval.cache_reuse=true,false")
    (line,) = no_effect_lines("eval", to_typed(composed("eval", given)), ["eval.cache_reuse=true"], is_stage=False)
    assert line.endswith("; set backbone.prompt_order=text_first and train the policy with it")


@pytest.mark.parametrize(
    ("root", "overrides"),
    [
        ("train", "policy/objective=mixture policy.use_straight_through=true,false policy.lambda_cost=0,0.1"),
        ("eval", "policy.lambda_cost=0,0.1 training.seed=0,1"),
        ("oracle", "policy.baseline.rule=utility policy.lambda_cost=0,0.1"),
        ("eval", "policy.full_pruning_ratio=1,0.5 policy.full_pruning_mode=stride,merge"),  # curves that meet at 1
        ("eval", "policy/baseline=no_vision dataset=easy_vqa,mini_mmmu eval.random_fallback=true"),
        ("collect", "eval.num_shards=4 eval.shard=0,1,2,3"),
        ("collect", "policy/baseline=always_full,no_vision"),
        ("collect", "policy/baseline=random_policy_matched policy.baseline.target_ratios=[1,0,0],[0,1,0]"),
        ("eval", "policy.lambda_cost=0"),
    ],
)
def test_a_swept_key_with_an_effect_is_not(root: str, overrides: str) -> None:
    check(root, *overrides.split())


@pytest.mark.parametrize("key", ["eval.batch_size", "eval.chunk_rows", "eval.num_workers"])
def test_jobs_that_would_share_a_folder_are_refused(key: str) -> None:
    with pytest.raises(VoVNetError, match=f"^{key} is swept but changes no result, so its jobs would have one folder"):
        check("eval", f"{key}=1,2")


def test_jobs_that_are_refused_anyway_say_so_themselves() -> None:
    check("eval", "policy.lambda_cost=-1,-2", "dataset.prompt_template=Hi")


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        (
            "hydra.sweep.dir='x/${policy.lambda_cost}'",
            "hydra.sweep.dir changes with policy.lambda_cost, which is swept",
        ),
        ("hydra.sweep.subdir=x", "hydra.sweep.subdir=x is the same for every job"),
    ],
)
def test_a_sweep_has_one_folder_and_each_job_its_own(folder: str, sentence: str) -> None:
    with pytest.raises(VoVNetError) as caught:
        check("eval", folder, "policy.lambda_cost=0,0.1")
    assert str(caught.value).startswith(sentence)
    check("eval", "hydra.sweep.dir=x", "hydra.sweep.subdir='${policy.lambda_cost}'", "policy.lambda_cost=0,0.1")
