"""A sweep's shared composition is the one that Hydra makes of each job's overrides."""

from types import SimpleNamespace

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import ConfigCompositionException, HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vovnet.compose import register_resolvers
from vovnet.compositions import shared_compositions
from vovnet.options import conf_dir


@pytest.mark.parametrize(
    "jobs",
    [
        [["policy.lambda_cost=0.1"], ["policy.lambda_cost=0.2"]],
        [["dataset=mini_mmmu", "dataset.prompt_template='{question}, a'"], ["dataset=easy_vqa", "eval.seed=3"]],
        [["policy/baseline=uncertainty_threshold", "policy.baseline.threshold=0.3", "hydra.sweep.dir='/a b'"]],
        [["+eval.x=1", "eval.seed=2"], ["~leaks.allow", "eval.seed=2"], ["++eval.seed=4"]],
    ],
)
def test_every_job_is_composed_as_by_hydra(jobs: list[list[str]]) -> None:
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("eval", [], RunMode.MULTIRUN)
        hydras_own = [loader.load_sweep_config(master, job) for job in jobs]
        with shared_compositions():
            ours = [loader.load_sweep_config(master, job) for job in jobs * 2]
        again = loader.load_sweep_config(master, jobs[0])
    assert [OmegaConf.to_yaml(c) for c in ours] == [OmegaConf.to_yaml(c) for c in hydras_own * 2]
    assert OmegaConf.to_yaml(again) == OmegaConf.to_yaml(hydras_own[0])


def test_a_value_without_a_key_is_refused_as_by_hydra() -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"), shared_compositions():
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("eval", [], RunMode.MULTIRUN)
        with pytest.raises(ConfigCompositionException, match="Could not override"):
            loader.load_sweep_config(master, ["policy.nothing=1"])


GOOD = ["policy.lambda_cost=0.1", "dataset.prompt_template='{question}'", "runs=[a,b]", "eval.seed=null"]
BAD = ["policy.nothing=1", "eval.seed.x=1", "leaks.nothing.at.all=2", "dataset=no_such_set"]


@settings(max_examples=5, deadline=None)
@given(st.lists(st.sampled_from([*GOOD, *BAD, "dataset=mini_mmmu", "dataset={a:1}", "eval={seed:3}", "dataset.a=2"])))
def test_a_batch_is_refused_where_hydra_refuses_it(overrides: list[str]) -> None:
    """Jobs that are good before and after a bad one change nothing, nor do values that hold keys."""
    jobs = [["policy.lambda_cost=0.3"], *([one, "policy.lambda_cost=0.4"] for one in overrides)]
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("eval", [], RunMode.MULTIRUN)
        sweeper = SimpleNamespace(hydra_context=HydraContext(loader, Callbacks()), config=master)

        def verdict(batch: list[list[str]]) -> str:
            try:
                Sweeper.validate_batch_is_legal(sweeper, batch)  # type: ignore[arg-type]
            except (HydraException, OmegaConfBaseException) as error:
                return type(error).__name__
            return "legal"

        hydras_own = verdict(jobs)
        with shared_compositions():
            for job in jobs[:1]:
                loader.load_sweep_config(master, job)  # what a launcher does: the check may then share its composition
            assert verdict(jobs) == hydras_own


@pytest.mark.parametrize("kind", list(ObjectType))
def test_groups_are_listed_as_by_hydra(kind: ObjectType) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = ["", "policy", "policy/baseline", "dataset", "hydra/launcher", "nothing"]
        hydras_own = [loader.get_group_options(group, kind) for group in groups]
        with shared_compositions():
            assert [loader.get_group_options(group, kind) for group in groups] == hydras_own
            changed = loader.get_group_options("dataset", kind, "eval", ["hydra.searchpath=[]"])
    assert changed == hydras_own[3]
