"""Compositions in a hundredth of a second: those that choose the same options share their files."""

import copy
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tests.conftest import Configure
from vovnet.compose import register_resolvers, to_typed
from vovnet.options import conf_dir
from vovnet.schema import RunConfig


@cache
def _options(root: str, overrides: tuple[str, ...]) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(root, list(overrides), return_hydra_config=True)


def composed(root: str, overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes of overrides whose values set keys that there are."""
    values = [o for o in overrides if re.match(r"\w+(\.\w+)+=", o) and not o.startswith("hydra.")]
    config = copy.deepcopy(_options(root, tuple(o for o in overrides if o not in values)))
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(config, override.key_or_group, override.value())
    return config


def by_hydra(root: str, overrides: Sequence[str]) -> RunConfig:
    """What Hydra composes, in its own words where it refuses."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_typed(compose(root, list(overrides), return_hydra_config=False))


def as_typed(root: str, overrides: Sequence[str]) -> RunConfig:
    """The same, sooner; ``tests/test_compose.py`` compares them."""
    try:
        found = composed(root, overrides)
    except OmegaConfBaseException:  # the words for a key that there is not are Hydra's
        return by_hydra(root, overrides)
    return to_typed(found)


def small_configurations(easy_data: Path, qwen3: Path, runs: Path) -> Configure:
    """Configurations on the small data and checkpoint, with runs in a folder of their own."""
    places = [f"dataset.path={easy_data}", f"backbone.path={qwen3}", f"paths.runs={runs}"]
    sizes = ["eval.max_new_tokens=3", "eval.chunk_rows=32", "eval.batch_size=16"]

    def make(*overrides: str, root: str = "eval") -> RunConfig:
        return to_typed(composed(root, [*places, *sizes, *overrides]))

    return make
