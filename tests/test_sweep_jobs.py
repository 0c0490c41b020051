"""The jobs of a sweep: which there are, that each is composed as by Hydra, and what Hydra would leave of it."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.sweeps import batch_of
from vovnet.compose import to_typed
from vovnet.sweep_batch import Batch
from vovnet.sweep_jobs import Job, task_overrides


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of("eval", [])


def by_hydra(batch: Batch, job: Job) -> Any:
    """What Hydra itself composes, but for what VoVNet sets for a whole sweep."""
    config = batch.context.config_loader.load_sweep_config(batch.config, list(job))
    config.hydra.sweep.dir = batch.config.hydra.sweep.dir
    config.hydra.job.id, config.hydra.job.num = "0", 0
    return OmegaConf.to_container(config, resolve=False, enum_to_str=True)


CHOICES = [
    "policy.lambda_cost=0.1",
    "policy.lambda_cost=0.2",
    "policy.lambda_cost='${eval.seed}'",
    "eval.seed=${policy.lambda_cost}",
    "eval.checkpoint=/a",
    "eval.checkpoint=null",
    "dataset=mini_mmmu",
    "dataset.prompt_template='{question}, a'",
    "leaks.allow=[image,split]",
    "policy/baseline=cascade",
    "+eval.x=1",
    "++eval.seed=4",
    "~leaks.allow",
    "+experiment=b2_threshold",
    "dataset.files={test:[a]}",
]
BAD = ["policy.nothing=1", "eval.seed.x=1", "leaks.nothing.at.all=2", "dataset=no_such_set", "policy.baseline.match=x"]


@settings(max_examples=12)
@given(jobs=st.lists(st.lists(st.sampled_from([*CHOICES, *BAD]), max_size=3, unique=True), max_size=3))
def test_every_job_is_composed_as_by_hydra(batch: Batch, jobs: list[list[str]]) -> None:
    """One after another, so what a job has set is gone in the next; and refused where Hydra refuses it."""
    for job in jobs:
        try:
            expected = by_hydra(batch, job)
        except (HydraException, OmegaConfBaseException):
            with pytest.raises((HydraException, OmegaConfBaseException)), batch.composed(job):
                pass
            continue
        with batch.composed(job) as composition:
            assert composition.plain == expected
            assert OmegaConf.to_container(composition.config, resolve=False, enum_to_str=True) == expected
            assert OmegaConf.is_struct(composition.config)


@pytest.mark.parametrize(
    "given", ["dataset=mini_mmmu eval.seed=3", "+experiment=b1_fixed ++eval.seed=4 policy.lambda_cost=1"]
)
def test_what_holds_for_all_jobs_is_composed_once(given: str) -> None:
    batch = batch_of("eval", [*given.split(), "eval.max_samples=4,8", "policy/objective=value,mixture"])
    for job in [*batch.jobs, given.split()]:
        with batch.composed(job) as composition:
            assert composition.plain == by_hydra(batch, job)


def test_a_checked_job_is_that_of_its_whole_configuration(batch: Batch) -> None:
    for value in ("0.25", "${eval.seed}"):
        with batch.composed(["eval.seed=3", f"policy.lambda_cost={value}"]) as composition:
            assert composition.typed() == to_typed(composition.config)


def test_jobs_with_the_same_groups_share_a_composition(batch: Batch) -> None:
    found = {
        id(batch.compositions.find([text, "dataset=mini", f"policy.lambda_cost={value}"])[0])
        for text in ("eval.seed=1", "eval.seed=2")
        for value in ("0", "0.5")
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("given", "jobs"),
    [
        ([], [""]),
        (["a=1", "b=2,3"], ["a=1 b=2", "a=1 b=3"]),
        (["+hydra.sweeper.params={eval.seed:'1,2'}"], ["eval.seed=1", "eval.seed=2"]),
        (["+hydra.sweeper.params={eval.seed:'1,2'}", "eval.seed=7"], ["eval.seed=7"]),
        (["+hydra.sweeper.params={a:'1'}", "+hydra.sweeper.grids={x:{b:'1,2'},y:{c:'3'}}"],
         ["a=1 b=1", "a=1 b=2", "a=1 c=3"]),
        (["+hydra.sweeper.grids={x:{b:'1'},y:{c:'3'}}", "d=0,1"], ["b=1 d=0", "b=1 d=1", "c=3 d=0", "c=3 d=1"]),
        (["+hydra.sweeper.grids={x:{eval.seed:'1,2'},y:{c:'3'}}", "eval.seed=9"], ["eval.seed=9", "c=3 eval.seed=9"]),
        (["a=range(0,2)", "b=glob(x*)"], []),
    ],
)  # fmt: skip
def test_jobs_are_the_union_of_the_grids_each_multiplied_with_what_is_swept(given: list[str], jobs: list[str]) -> None:
    root = [text if "." in text else f"+{text}" for text in given]
    found = [" ".join(task_overrides(job)).replace("+", "") for job in batch_of("eval", root).jobs]
    assert found == jobs


def test_the_experiment_of_several_grids_keeps_them_apart() -> None:
    batch = batch_of("eval", ["+experiment=question", "dataset=mini_textvqa"])
    sizes = {name: len(jobs) for name, jobs in batch.grids.items()}
    assert sizes == {"lambdas": 5, "fixed": 3, "thresholds": 10, "pruning": 4}
    assert all(job[-2:] == ["+experiment=question", "dataset=mini_textvqa"] for job in batch.jobs)


def test_a_value_without_an_end_is_no_sweep() -> None:
    with pytest.raises(HydraException, match="has no end of values"):
        batch_of("eval", ["eval.seed=interval(0,1)"])


def test_another_programs_task_is_sent_to_hydras_sweeper() -> None:
    with pytest.raises(HydraException, match="choose hydra/sweeper=basic"):
        batch_of("eval", [], task=print)


@contextmanager
def begun(batch: Batch, job: Job, folder: Path, number: int = 0) -> Iterator[JobReturn]:
    with batch.composed(job, number) as composition, batch.begun(composition, folder) as ended:
        yield ended


def test_a_job_leaves_the_records_and_the_log_that_hydra_would(batch: Batch, tmp_path: Path) -> None:
    root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
    try:
        for number, text in enumerate(("{question} é\x1b 1e-05", "{question} \ud800: # '", "1e3")):
            folder, job = tmp_path / str(number), [f'dataset.prompt_template="{text}"', "policy.lambda_cost=1e-05"]
            with begun(batch, job, folder, number):
                logging.getLogger("x").warning("message %d", number)
                hydra = HydraConfig.get()
                assert (hydra.runtime.output_dir, hydra.job.num, hydra.job.id) == (str(folder), number, str(number))
            files = {path.name: OmegaConf.load(path) for path in (folder / ".hydra").iterdir()}
            assert files.keys() == {"config.yaml", "hydra.yaml", "overrides.yaml"}
            assert files["config.yaml"].dataset.prompt_template == text
            assert files["config.yaml"].policy.lambda_cost == 1e-05
            assert files["config.yaml"].paths.store == "multirun/outcomes"
            assert files["hydra.yaml"].hydra.job.num == number
            assert files["overrides.yaml"] == job
            (log,) = folder.glob("*.log")
            assert [line[9:] for line in log.read_text().splitlines()] == [f"message {number}"]
    finally:
        for handler in {*root.handlers} - {*handlers}:
            root.removeHandler(handler)
            handler.close()


def test_callbacks_the_environment_and_the_folder_are_hydras(batch: Batch, tmp_path: Path) -> None:
    job = ["+hydra.job.env_set.NOT_YET=x", "hydra.job.chdir=true", "hydra.output_subdir=null"]

    def fails() -> None:
        with begun(batch, job, tmp_path / "a"):
            assert (os.environ["NOT_YET"], Path.cwd()) == ("x", tmp_path / "a")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert "NOT_YET" not in os.environ
    assert Path.cwd() != tmp_path / "a"
    assert not (tmp_path / "a/.hydra").exists()
    before = len(batch.context.callbacks.ended)  # type: ignore[attr-defined]
    with begun(batch, [], tmp_path / "b") as ended:
        pass
    assert batch.context.callbacks.ended[before:] == [ended]  # type: ignore[attr-defined]


def test_a_checkout_without_the_plugin_says_how_to_install_it(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.path = [p for p in sys.path if not p.endswith('plugins')]; sys.argv = ['eval']; "
        "runpy.run_module('experiments.eval', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "install the package again, by `pip install -e .`" in done.stderr
