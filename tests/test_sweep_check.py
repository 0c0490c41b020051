"""A sweep is refused before its first job where a key of it tells no jobs apart; the guides' sweeps are not."""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.composer import composed
from vovnet.errors import VoVNetError
from vovnet.options import conf_dir
from vovnet.sweep_check import check_sweep


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


def guides_sweeps() -> Iterator[tuple[str, list[str]]]:
    """Each sweep that an experiment file holds: as its own, or as a pipeline's stage."""
    for path in sorted((conf_dir() / "experiment").glob("*.yaml")):
        content = yaml.safe_load(path.read_text()) or {}
        if params := content.get("hydra", {}).get("sweeper", {}).get("params"):
            (entry, *_) = re.findall(r"python -m experiments\.(\w+) \+experiment", path.read_text())
            yield entry, [f"+experiment={path.stem}", *(f"{key}={value}" for key, value in params.items())]
        for stage in content.get("pipeline", {}).get("stages", ()):
            if stage["sweep"] and not any("+experiment" in o for o in stage["overrides"]):
                yield stage["entry"], stage["overrides"]


SWEEPS = list(guides_sweeps())


@pytest.mark.parametrize(("root", "overrides"), SWEEPS, ids=[f"{root} {' '.join(o)}"[:80] for root, o in SWEEPS])
def test_the_guides_sweeps_are_run(root: str, overrides: list[str], tmp_path: Path) -> None:
    check(root, *(re.sub(r"\{folder\}[\w/]*", str(tmp_path), override) for override in overrides))


@pytest.mark.parametrize(
    ("root", "overrides", "key"),
    [
        ("train", "policy.use_straight_through=true,false", "policy.use_straight_through"),
        ("train", "policy.lambda_cost=0,0.05", "policy.lambda_cost"),
        ("train", "policy/objective=value,mixture policy.lambda_cost=0,0.05", "policy.lambda_cost"),
        ("train", "policy/baseline=always_full,no_vision", "policy/baseline"),
        ("train", "training.backbone.lora.rank=4,8", "training.backbone.lora.rank"),
        ("eval", "policy/baseline=always_full policy/objective=value,mixture", "policy/objective"),
        ("eval", "policy/baseline=cascade eval.temperature=0.5,1", "eval.temperature"),
        ("eval", "policy/baseline=none,always_full policy.lambda_cost=0,0.1", "policy.lambda_cost"),
        ("oracle", "policy.lambda_cost=0,0.1", "policy.lambda_cost"),
        ("error_slices", "training.epochs=1,2", "training.epochs"),
        ("collect", "policy.hidden_size=8,16", "policy.hidden_size"),
        ("report", "dataset=mini,easy_vqa", "dataset"),
    ],
)
def test_a_swept_key_without_effect_is_refused(root: str, overrides: str, key: str) -> None:
    with pytest.raises(VoVNetError, match=f"^{re.escape(key)} is swept but has no effect here: ") as caught:
        check(root, *overrides.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("root", "overrides"),
    [
        ("train", "policy/objective=mixture policy.use_straight_through=true,false policy.lambda_cost=0,0.1"),
        ("eval", "policy.lambda_cost=0,0.1 training.seed=0,1"),
        ("oracle", "policy.baseline.rule=utility policy.lambda_cost=0,0.1"),
        ("eval", "policy.full_pruning_ratio=1,0.5 policy.full_pruning_mode=stride,merge"),  # curves that meet at 1
        ("eval", "policy/baseline=no_vision dataset=easy_vqa,mini_mmmu eval.random_fallback=true"),
        ("collect", "eval.num_shards=4 eval.shard=0,1,2,3"),
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
