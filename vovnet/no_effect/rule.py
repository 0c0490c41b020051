"""Keys that have no effect under a condition, and the conditions that several rules share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.actions import ACTION_SPACES, USUAL
from vovnet.policy import FILE_NAME
from vovnet.schema import DatasetConfig, PolicyTraining, RunConfig
from vovnet.vlm.imported import FOLDER

TRAIN, COLLECT = ("train",), ("collect",)
EVALUATE = ("eval", "error_slices", "oracle")  # commands that write an evaluation
DECIDE = (*EVALUATE, "profile", "calibrate")  # commands that make a policy
ANY = (*TRAIN, *COLLECT, *DECIDE)  # commands that answer questions
LOGGED = (*DECIDE, "report", "pipeline")  # commands that hand their results to a logger
READ = ("report", "store")  # commands that read what others have written

FALLBACK = (
    "policy.fallback_mode policy.fallback_entropy_threshold policy.fallback_entropy_quantile "
    "policy.fallback_margin_threshold"
)
FILES = "eval.checkpoint eval.ddp_checkpoint_path"

When = Callable[[RunConfig], bool]


def always(_: RunConfig) -> bool:
    """Whatever else is configured."""
    return True


def others(*own: str) -> tuple[str, ...]:
    """Every command but these, and but a pipeline, which hands its keys on."""
    return tuple(name for name in (*ANY, *READ, "match", "prepare") if name not in own)


@dataclass(frozen=True)
class Rule:
    """Keys without effect under a condition.

    Attributes:
        keys: separated by spaces; each stands for all keys below it as well.
        commands: the entry points that it holds for.
        why: the reason, as an end of a sentence.
        but: keys among them that do have an effect.
        end_of: a key of numbers at one end of which ``keys`` have no effect; swept together they draw curves that meet
            there; this is allowed.
        sweeps_only: a sweep over it is refused, but a value that is given is not reported: it changes figures, though
            not what the command makes.
    """

    keys: str
    commands: Sequence[str]
    why: str
    when: When = always
    but: str = ""
    end_of: str = ""
    sweeps_only: bool = False

    def covers(self, command: str, key: str) -> bool:
        """Whether it speaks of a key of a command, whatever the composition."""
        return command in self.commands and _below(key, self.keys) and not _below(key, self.but)


def _below(key: str, tops: str) -> bool:
    return any(key == top or key.startswith(f"{top}.") for top in tops.split())


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
