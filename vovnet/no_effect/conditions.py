"""Conditions on a composition under which keys have no effect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vovnet.actions import ACTION_SPACES, USUAL
from vovnet.no_effect.rule import When
from vovnet.policy.names import FILE_NAME
from vovnet.schema import DatasetConfig, PolicyTraining, RunConfig
from vovnet.vlm.imported import FOLDER


def has_baseline(config: RunConfig) -> bool:
    """A rule decides in VoVNet's place."""
    return not is_vovnet(config)


def is_vovnet(config: RunConfig) -> bool:
    """VoVNet itself decides."""
    return not config.policy.baseline.name


def learns_value(config: RunConfig) -> bool:
    """The objective is ``value``."""
    return config.policy.objective.name == "value"


def ignores_lambda(config: RunConfig) -> bool:
    """A baseline decides that reads no lambda."""
    return not config.policy.baseline.reads_lambda


def follows_space(config: RunConfig) -> bool:
    """What decides chooses among the actions of the configured menu."""
    menus = [config.policy.baseline.menu(space) for space in (*ACTION_SPACES.values(), config.menu)]
    return len(set(menus)) > 1


def has_file(config: RunConfig) -> bool:
    """The policy is named, not searched for."""
    if config.eval.checkpoint is None:
        return config.eval.ddp_checkpoint_path is not None
    place = Path(config.eval.checkpoint).expanduser()
    return place.is_file() or (place / FILE_NAME).exists()


def answers(config: RunConfig) -> set[str]:
    """The branches that a baseline may choose; all of them for VoVNet, whose file must fit the whole budget."""
    policy, everything = config.policy, USUAL
    menu = everything if is_vovnet(config) else policy.baseline.menu(config.menu)
    return {action.label for action in menu} | ({policy.fallback_mode} if policy.fallback_mode else set())


def scores_mmmu(dataset: DatasetConfig) -> bool:
    """Questions of MMMU, or of a set like it, are among them."""
    return "mmmu" in dataset.name or any(scores_mmmu(part) for part in dataset.parts.values())


def is_imported(config: RunConfig) -> bool:
    """The backbone is rows that another engine has made."""
    return config.backbone.path is not None and Path(config.backbone.path).parent.name == FOLDER


def moves_rows(config: RunConfig) -> bool:
    """Rows of a backbone and a data set are imported, exported or scored again."""
    store = config.store
    return store is not None and (store.import_from, store.export_to, store.rescore) != (None, None, None)


def off_slurm(config: RunConfig) -> bool:
    """Jobs are not Slurm's, whose nodes and tasks follow ``trainer``."""
    return config.launcher.kind != "slurm"


def replays_here(config: RunConfig) -> bool:
    """Stored outcomes are evaluated, and not by Slurm's jobs."""
    return off_slurm(config) and config.eval.mode == "replay"


def stages(test: Callable[[PolicyTraining], bool]) -> When:
    """A condition on a policy's training."""
    return lambda config: test(config.training)


def trains_backbone(training: PolicyTraining) -> bool:
    """Some stage changes the backbone's weights."""
    return training.stage1_epochs > 0 or training.stage2_backbone != "frozen"


def is_live(training: PolicyTraining) -> bool:
    """Stage 2 runs the branches in every step."""
    return training.live or training.stage2_backbone != "frozen"


def trains_lora(training: PolicyTraining) -> bool:
    """Some stage trains LoRA."""
    return "lora" in (training.stage2_backbone, training.stage1_backbone if training.stage1_epochs else "")


def of(name: str, test: Callable[[Any], Any]) -> When:
    """A condition on the options of one baseline; its class is not imported for that."""
    return lambda config: config.policy.baseline.name == name and bool(test(config.policy.baseline))
