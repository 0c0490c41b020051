"""Every configuration key, its type, its range and its meaning.

Hydra composes yaml into a DictConfig; the entry point turns that into the frozen dataclasses
below and nothing further inside ever sees a DictConfig. Unknown keys, wrong types and values out
of range are errors here.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.actions import ACTION_SPACES, Action
from vovnet.schema.backbone import BackboneConfig, Resolution, VisionBudgetConfig
from vovnet.schema.code import ReportParts
from vovnet.schema.data import Dataset, DatasetConfig, GenerateConfig, HubConfig, LeaksConfig, PrepareConfig, SplitFiles
from vovnet.schema.menu import OwnLook, disorder, finer, in_order, key_of, resolution_of
from vovnet.schema.policy import BaselineConfig, FullLook, ObjectiveConfig, PolicyConfig, PolicyOptions, Ratios
from vovnet.schema.ranges import (
    STRICT,
    ActionSpace,
    CostUnit,
    Count,
    Dtype,
    FeatureMode,
    Fraction,
    Kept,
    Name,
    NonNegative,
    Place,
    Positive,
    Procedure,
    PromptOrder,
    PruningMode,
    Rate,
    Seed,
    Split,
)
from vovnet.schema.runs import (
    BackboneTraining,
    BasicLauncher,
    EvalConfig,
    LauncherConfig,
    LocalLauncher,
    LoraConfig,
    PolicyTraining,
    Precision,
    Schedule,
    ServeConfig,
    SlurmLauncher,
    TrainerConfig,
)

__all__ = [
    "STRICT",
    "ActionSpace",
    "BackboneConfig",
    "BackboneTraining",
    "BaselineConfig",
    "BasicLauncher",
    "CalibrateConfig",
    "CostUnit",
    "DatasetConfig",
    "Dtype",
    "EvalConfig",
    "FeatureMode",
    "Fraction",
    "FullLook",
    "GenerateConfig",
    "HubConfig",
    "Kept",
    "Launched",
    "LauncherConfig",
    "LeaksConfig",
    "LocalLauncher",
    "LoggerConfig",
    "LoraConfig",
    "NonNegative",
    "ObjectiveConfig",
    "OwnLook",
    "PathsConfig",
    "PipelineConfig",
    "PolicyConfig",
    "PolicyOptions",
    "PolicyTraining",
    "Positive",
    "Precision",
    "PrepareConfig",
    "Procedure",
    "ProfileConfig",
    "PromptOrder",
    "PruningMode",
    "Ratios",
    "ReportConfig",
    "Resolution",
    "RunConfig",
    "RunFolder",
    "Schedule",
    "Seed",
    "ServeConfig",
    "SlurmLauncher",
    "Split",
    "SplitFiles",
    "Stage",
    "StoreConfig",
    "TrainerConfig",
    "VisionBudgetConfig",
    "disorder",
    "finer",
    "in_order",
    "key_of",
    "resolution_of",
]


@dataclass(frozen=True, config=STRICT)
class PathsConfig:
    """Where things land."""

    runs: Place  # every run's and sweep's folder
    store: Place  # the outcome store
    data: Place  # generated and prepared data sets


@dataclass(frozen=True, config=STRICT)
class RunFolder:
    """What must hold before any folder is made."""

    name: Name
    paths: PathsConfig


@dataclass(frozen=True, config=STRICT)
class Launched:
    """What must hold before any job of a sweep."""

    launcher: LauncherConfig


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One command of a pipeline."""

    name: Name  # its folder inside the pipeline's
    entry: Literal["train", "collect", "eval", "oracle", "error_slices", "profile", "report", "pipeline"]
    sweep: bool
    overrides: tuple[str, ...]  # {folder} stands for the pipeline's folder


@dataclass(frozen=True, config=STRICT)
class PipelineConfig:
    """Commands to run in order."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]


STORE_WORK = ("prune", "import_from", "export_to", "rescore")


@dataclass(frozen=True, config=STRICT)
class StoreConfig:
    """What to do with the outcome store."""

    prune: str | None  # delete tables whose id starts with this; null only lists
    confirm: bool  # false shows what would be deleted
    import_from: Place | None = None  # folder of another engine's rows, for backbone=imported backbone.name=NAME
    engine: str | None = None  # what has made them; null takes their column `engine`
    scores: Literal["auto", "given", "own"] = "auto"  # given: the rows'; own: by the data set's scorer
    max_vision_tokens: Positive | None = None  # of a maximal FULL image; null takes the rows' largest
    export_to: Place | None = None  # folder for the stored rows of backbone, dataset and eval.split
    rescore: str | None = None  # a rule or scorer to judge the stored answers by; `earlier`: what has changed since

    @model_validator(mode="after")
    def _one_thing(self) -> "StoreConfig":
        asked = [name for name in STORE_WORK if getattr(self, name) is not None]
        if len(asked) > 1:
            raise ValueError(f"{asked[0]} and {asked[1]} exclude each other; run one command for each")
        return self


@dataclass(frozen=True, config=STRICT)
class ProfileConfig:
    """Block F1."""

    warmup: Count  # questions answered before anything is measured
    batch_size: Annotated[int, Field(ge=1)] = 1  # questions that are answered together


@dataclass(frozen=True, config=STRICT)
class CalibrateConfig:
    """What a calibrated lambda has to reach; one of the two."""

    cost: Rate | None  # average normalised cost to stay within
    accuracy_kept: Kept | None  # share of FULL's accuracy

    @model_validator(mode="after")
    def _one_goal(self) -> "CalibrateConfig":
        if self.cost is not None and self.accuracy_kept is not None:
            raise ValueError("cost and accuracy_kept exclude each other; set one of them to null")
        return self


@dataclass(frozen=True, config=STRICT)
class LoggerConfig:
    """Where a training's metrics go besides ``log/metrics.csv``, and results besides the run's folder."""

    name: Literal["csv", "tensorboard", "wandb"]
    project: str | None  # wandb
    entity: str | None  # wandb
    offline: bool  # wandb: keep the run on disk


@dataclass(frozen=True, config=STRICT)
class ReportConfig:
    """Limits of the HTML report, what tables and figures for a paper show, and tables of the user's own."""

    samples: Count  # in the browser of each data set
    image_megabytes: NonNegative  # of images, all data sets together
    width: Literal["column", "page"] = "column"  # of figures and LaTeX tables
    format: Annotated[tuple[Literal["png", "pdf", "svg"], ...], Field(min_length=1)] = ("png", "pdf")  # of figures
    methods: tuple[str, ...] = ()  # in figures, and in tables of single settings; empty takes all
    parts: ReportParts = field(default_factory=dict)  # by the name of the table


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """One whole experiment: what an entry point receives."""

    name: Name  # of its folder under paths.runs
    backbone: BackboneConfig
    policy: PolicyConfig
    vision_budget: VisionBudgetConfig
    dataset: Dataset
    eval: EvalConfig
    training: PolicyTraining
    trainer: TrainerConfig
    logger: LoggerConfig
    paths: PathsConfig
    leaks: LeaksConfig
    launcher: LauncherConfig
    pipeline: PipelineConfig | None = None  # experiments.pipeline only
    store: StoreConfig | None = None  # experiments.store only
    prepare: PrepareConfig | None = None  # experiments.prepare only
    profile: ProfileConfig | None = None  # experiments.profile only
    calibrate: CalibrateConfig | None = None  # experiments.calibrate only
    report: ReportConfig | None = None  # experiments.report only
    serve: ServeConfig | None = None  # experiments.serve only
    runs: tuple[str, ...] | None = None  # experiments.report only: folders to read

    @property
    def menu(self) -> tuple[Action, ...]:
        """The looks that a policy chooses among, cheapest first."""
        return self.policy.menu(self.vision_budget)

    @model_validator(mode="after")
    def _menu_in_order(self) -> "RunConfig":
        policy, usual = self.policy, self.policy.looks is None and self.policy.action_space in ACTION_SPACES
        try:
            why = "" if usual else disorder(self.menu, self.vision_budget, policy.full_pruning_ratio)
        except ValueError as error:
            why = str(error)
        if why:
            key = f"policy.action_space={policy.action_space}" if policy.looks is None else "policy.looks"
            raise ValueError(f"{key}: {why}")
        return self

    @model_validator(mode="after")
    def _batches_do_not_count(self) -> "RunConfig":
        if self.backbone.batch_invariant and self.eval.num_beams > 1:
            raise ValueError("backbone.batch_invariant=true needs eval.num_beams=1: beam search reads whole batches")
        if self.backbone.batch_invariant and self.trainer.strategy == "fsdp":
            raise ValueError(
                "backbone.batch_invariant=true needs trainer=single or ddp: fsdp's ranks wait in each pass"
            )
        return self
