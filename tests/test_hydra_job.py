"""A sweep's jobs see and leave what they would if Hydra ran them."""

import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal.core_plugins import basic_launcher
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job as hydras_own
from omegaconf import Container, DictConfig, OmegaConf

import vovnet.compositions
from vovnet.compose import register_resolvers
from vovnet.compositions import shared_compositions
from vovnet.hydra_job import copied, run_job
from vovnet.options import conf_dir

TEXTS = ["1", "1e3", "yes", "null", "~", "a: b", "ü λ", "'q'", "two\nlines", "", "x" * 200, "0o7", "[a]", "${name}"]


def sweep(folder: Path, job: object, monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], dict[str, str]]:
    """What two jobs saw, and the files that they left."""
    seen: list[object] = []

    def task(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        seen.append(OmegaConf.to_container(config, resolve=True))
        seen.append((hydra_config.runtime.output_dir, hydra_config.job.num, list(hydra_config.overrides.task)))
        seen.append((OmegaConf.is_struct(config), Path.cwd()))

    monkeypatch.setattr(vovnet.compositions, "run_job", job)
    overrides = ["-m", "policy.lambda_cost=0,0.1", f"hydra.sweep.dir={folder}", "~hydra.callbacks.sweep", "name='1e3'"]
    monkeypatch.setattr(sys, "argv", ["x", *overrides])
    register_resolvers()
    with shared_compositions():
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="eval")(task)()
    assert basic_launcher.run_job is hydras_own
    return seen, {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_jobs_see_and_leave_what_they_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, ours), (two, theirs) = sweep(tmp_path, run_job, monkeypatch), sweep(tmp_path, hydras_own, monkeypatch)
    assert one == two
    assert len([name for name in ours if name.endswith("hydra.yaml")]) == 2
    assert ours.keys() == theirs.keys()
    for name in (name for name in ours if name.endswith(".yaml")):
        assert ours[name] == theirs[name], name


def test_a_value_may_stand_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job changes its configuration, so no two may be handed the same one."""
    seen: list[int] = []
    overrides = ["-m", "policy.lambda_cost=0.1,0.1,0", f"hydra.sweep.dir={tmp_path}", "~hydra.callbacks.sweep"]
    monkeypatch.setattr(sys, "argv", ["x", *overrides])
    register_resolvers()
    with shared_compositions():
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="eval")(
            lambda config: seen.append(HydraConfig.get().job.num)
        )()
    assert seen == [0, 1, 2]


def test_errors_reach_who_asks_for_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def task(config: DictConfig) -> None:
        raise KeyError("lost")

    overrides = ["-m", "policy.lambda_cost=0", f"hydra.sweep.dir={tmp_path}", "~hydra.callbacks.sweep"]
    monkeypatch.setattr(sys, "argv", ["x", *overrides])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    register_resolvers()
    with shared_compositions(), pytest.raises(KeyError, match="lost"):
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="eval")(task)()


@pytest.mark.parametrize("text", TEXTS)
def test_texts_come_back_from_the_file(text: str) -> None:
    config = OmegaConf.create({"a": text, "b": [text, 1, 0.1, True, None]}, flags={"allow_objects": False})
    read = OmegaConf.create(vovnet.hydra_job.to_yaml(OmegaConf.to_container(config, resolve=False)))
    assert OmegaConf.to_container(read, resolve=False) == OmegaConf.to_container(config, resolve=False)
    assert not re.search(r"!!", vovnet.hydra_job.to_yaml(OmegaConf.to_container(config, resolve=False)))


def test_a_copy_is_what_deepcopy_makes_and_its_own() -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("eval", return_hydra_config=True)
    before = OmegaConf.to_yaml(config)
    copy, deep = copied(config), deepcopy(config)
    assert copy == deep
    assert _nodes(copy) == _nodes(deep)
    assert not {id(part.__dict__) for part in _walk(copy)} & {id(part.__dict__) for part in _walk(config)}
    copy.policy.lambda_cost = 0.75
    copy.hydra.overrides.task.append("x=1")
    OmegaConf.set_readonly(copy, True)
    assert OmegaConf.to_yaml(config) == before
    assert not OmegaConf.is_readonly(config)
    task = copied(config, without="hydra")
    assert task == OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    assert "hydra" in config


def _walk(node: Any) -> Iterator[Any]:
    yield node
    content = node._content if isinstance(node, Container) else None
    for part in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _walk(part)


def _nodes(config: DictConfig) -> list[tuple[object, ...]]:
    """Kind, full key, types and flags of every node."""
    return [
        (type(n), n._get_full_key(None), n._metadata.ref_type, n._metadata.object_type, n._metadata.flags)
        for n in _walk(config)
    ]
