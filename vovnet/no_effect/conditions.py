"""Conditions on a composition under which keys have no effect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vovnet.actions import FIXED_POLICIES
from vovnet.no_effect.rule import When
from vovnet.policy.names import FILE_NAME
from vovnet.schema import (
    CascadeBaseline,
    DatasetConfig,
    FixedBaseline,
    NoBaseline,
    OracleBaseline,
    PolicyTraining,
    PruningBaseline,
    RandomBaseline,
    ResolutionBaseline,
    RunConfig,
    UncertaintyBaseline,
)


def has_baseline(config: RunConfig) -> bool:
    """A rule decides in VoVNet's place."""
    return not is_vovnet(config)


def is_vovnet(config: RunConfig) -> bool:
    """VoVNet itself decides."""
    return isinstance(config.policy.baseline, NoBaseline)


def learns_value(config: RunConfig) -> bool:
    """The objective is ``value``."""
    return config.policy.objective.name == "value"


def ignores_lambda(config: RunConfig) -> bool:
    """A baseline decides that reads no lambda."""
    baseline = config.policy.baseline
    return has_baseline(config) and not (isinstance(baseline, OracleBaseline) and baseline.rule == "utility")


def has_file(config: RunConfig) -> bool:
    """The policy is named, not searched for."""
    if config.eval.checkpoint is None:
        return config.eval.ddp_checkpoint_path is not None
    place = Path(config.eval.checkpoint).expanduser()
    return place.is_file() or (place / FILE_NAME).exists()


def answers(config: RunConfig) -> set[str]:
    """The branches that a baseline may choose; all of them for VoVNet, whose file must fit the whole budget."""
    policy, chosen = config.policy, {"no", "coarse", "full"}
    match policy.baseline:
        case FixedBaseline(name=name):
            chosen = {FIXED_POLICIES[name].label}
        case UncertaintyBaseline(vision=vision):
            chosen = {"no", vision}
        case CascadeBaseline():
            chosen = {"coarse", "full"}
        case PruningBaseline() | ResolutionBaseline():
            chosen = {"full"}
        case OracleBaseline() if policy.action_space == "binary":
            chosen = {"no", "full"}
        case _:
            pass
    return chosen | ({policy.fallback_mode} if policy.fallback_mode else set())


def scores_mmmu(dataset: DatasetConfig) -> bool:
    """Questions of MMMU, or of a set like it, are among them."""
    return "mmmu" in dataset.name or any(scores_mmmu(part) for part in dataset.parts.values())


def off_slurm(config: RunConfig) -> bool:
    """Jobs are not Slurm's, whose nodes and tasks follow ``trainer``."""
    return config.launcher.kind != "slurm"


def stages(test: Callable[[PolicyTraining], bool]) -> When:
    """A condition on a policy's training."""
    return lambda config: isinstance(config.training, PolicyTraining) and test(config.training)


def trains_backbone(training: PolicyTraining) -> bool:
    """Some stage changes the backbone's weights."""
    return training.stage1_epochs > 0 or training.stage2_backbone != "frozen"


def is_live(training: PolicyTraining) -> bool:
    """Stage 2 runs the branches in every step."""
    return training.live or training.stage2_backbone != "frozen"


def trains_lora(training: PolicyTraining) -> bool:
    """Some stage trains LoRA."""
    return "lora" in (training.stage2_backbone, training.stage1_backbone if training.stage1_epochs else "")


def draws(test: Callable[[RandomBaseline], Any]) -> When:
    """A condition on the random baseline."""
    return lambda config: isinstance(config.policy.baseline, RandomBaseline) and bool(test(config.policy.baseline))
