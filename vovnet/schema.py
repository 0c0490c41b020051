"""Every configuration key, its type, its range and its meaning.

Hydra composes yaml into a DictConfig; the entry point turns that into the frozen dataclasses
below and nothing further inside ever sees a DictConfig. Unknown keys, wrong types and values out
of range are errors here.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

PromptOrder = Literal["text_first", "image_first", "sandwich"]
Dtype = Literal["float32", "bfloat16", "float16"]
FeatureMode = Literal["hidden", "hidden_entropy", "hidden_margin", "hidden_entropy_margin"]
ActionSpace = Literal["ternary", "binary"]
Split = Literal["train", "test"]

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass(frozen=True, config=STRICT)
class BackboneConfig:
    """Which vision-language model answers, and how it is run."""

    name: str  # a hub id, or the name of a checkpoint that travels in the package
    packaged: bool  # true: `name` lies in vovnet/backbone/checkpoints
    path: str | None  # a local folder saved with save_pretrained; wins over `name`
    revision: str | None  # hub revision
    prompt_order: PromptOrder
    dtype: Dtype
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]  # auto takes CUDA where there is some
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"]


@dataclass(frozen=True, config=STRICT)
class Resolution:
    """Upper bounds on an image; both hold."""

    long_side: Positive  # pixels
    max_pixels: Positive  # pixels, width times height


@dataclass(frozen=True, config=STRICT)
class VisionBudgetConfig:
    """What COARSE and FULL may spend on one image."""

    coarse: Resolution
    full: Resolution
    patch_size: Positive | None  # pixels; null takes the backbone's, anything else must equal it

    @model_validator(mode="after")
    def _coarse_is_coarser(self) -> "VisionBudgetConfig":
        if self.coarse.long_side > self.full.long_side or self.coarse.max_pixels > self.full.max_pixels:
            raise ValueError("coarse may not exceed full in long_side or max_pixels")
        return self


@dataclass(frozen=True, config=STRICT)
class SplitFiles:
    """File patterns of each split, looked for under ``dataset.path``."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class HubConfig:
    """Where a set lies on the hub; used while ``dataset.path`` is null."""

    id: str
    configs: tuple[str, ...]  # read one after another; empty takes the only one
    train: str | None  # upstream's name of our split
    test: str | None


@dataclass(frozen=True, config=STRICT)
class GenerateConfig:
    """How a mini set is drawn; the same numbers give the same files."""

    seed: Seed
    train_images: Positive
    test_images: Positive


@dataclass(frozen=True, config=STRICT)
class DatasetConfig:
    """Which questions, and the one prompt template that every policy and baseline uses.

    A template may show {question} or {Question} (first letter capital, the rest small), {options}
    (a line per option) and {hint}.
    """

    name: str
    path: str | None  # a local file or folder; null takes easy-VQA's copy in its package
    files: SplitFiles
    prompt_template: str | None  # null in a mixture only
    open_template: str | None  # for questions without options; null takes prompt_template
    on_error: Literal["raise", "skip"]  # of a malformed row
    hub: HubConfig | None = None
    generate: GenerateConfig | None = None  # the mini sets: written to `path` when it is not there
    parts: dict[str, "DatasetConfig"] = field(default_factory=dict)  # a mixture: sets that are read one after another

    @model_validator(mode="after")
    def _template_shows_question(self) -> "DatasetConfig":
        if (self.prompt_template is None) != bool(self.parts):
            raise ValueError("prompt_template must be set, except in a mixture, whose parts bring their own")
        for template in (self.prompt_template or "{question}", self.open_template or "{question}"):
            if "{question}" not in template and "{Question}" not in template:
                raise ValueError("prompt_template and open_template must contain {question}")
        return self


@dataclass(frozen=True, config=STRICT)
class ObjectiveConfig:
    """How the policy head learns from outcomes."""

    name: Literal["value", "mixture"]
    temperature: Rate  # tau of the (Gumbel-)softmax; `mixture` only
    loss: Literal["nll", "error"]  # branch loss L_a of `mixture`: answer NLL in nats, or 1 - score


@dataclass(frozen=True, config=STRICT)
class BaselineConfig:
    """A fixed rule in the policy's place; an empty name means VoVNet itself."""

    name: Literal["", "always_full", "always_coarse", "no_vision"]


@dataclass(frozen=True, config=STRICT)
class PolicyConfig:
    """What the policy reads, what it may choose, and what a whole image is worth."""

    lambda_cost: NonNegative  # accuracy (0 to 1) worth one whole FULL image
    feature_mode: FeatureMode
    action_space: ActionSpace
    hidden_size: Positive  # units of the head's hidden layer
    use_straight_through: bool  # `mixture`: hard Gumbel samples forward, soft gradient backward
    objective: ObjectiveConfig
    baseline: BaselineConfig


@dataclass(frozen=True, config=STRICT)
class EvalConfig:
    """How outcomes are collected and decisions are scored; the same for every policy."""

    mode: Literal["replay", "live"]
    split: Split
    max_samples: Positive | None
    batch_size: Positive
    num_workers: Annotated[int, Field(ge=0, le=256)]
    chunk_rows: Positive  # rows per store file; at most this much work is lost when killed
    max_new_tokens: Positive
    num_beams: Positive
    do_sample: bool
    temperature: Rate
    cache_reuse: bool  # continue the text pass's key-value cache when the order allows it
    seed: Seed  # of sampled decoding and of the random fallback
    random_fallback: bool  # MMMU: draw a letter for a choice that cannot be read, as its evaluator does
    checkpoint: str | None  # policy file; null takes the newest that fits under paths.runs/train

    @model_validator(mode="after")
    def _one_way_of_decoding(self) -> "EvalConfig":
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample=true and num_beams>1 exclude each other")
        return self


@dataclass(frozen=True, config=STRICT)
class PolicyTraining:
    """Stage 2: the policy head, from stored outcomes of the training split."""

    kind: Literal["policy"]
    epochs: Positive
    batch_size: Positive
    learning_rate: Rate
    weight_decay: NonNegative
    val_fraction: Fraction  # share of image groups held out to choose the best epoch
    max_samples: Positive | None  # questions of the training split to collect; null takes all
    live: bool  # run the branches in every step instead of reading the store
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class Phase:
    """A stretch of backbone training: which questions, and how often each branch is drawn."""

    steps: Positive
    # open: those without options and not answered by yes or no; text: those that mini_mmbench marks as
    # answered by their text alone
    questions: Literal["open", "text", "all"]
    branch_weights: tuple[NonNegative, NonNegative, NonNegative]  # NO, COARSE, FULL
    set_weights: dict[str, NonNegative]  # how often each set of a mixture is drawn; empty: all images alike

    @model_validator(mode="after")
    def _some_branch(self) -> "Phase":
        if sum(self.branch_weights) <= 0:
            raise ValueError("branch_weights must not all be 0")
        return self


@dataclass(frozen=True, config=STRICT)
class TinyArchitecture:
    """Sizes of a small Qwen3-VL."""

    hidden_size: Positive
    intermediate_size: Positive
    num_layers: Positive
    num_heads: Positive
    num_key_value_heads: Positive
    vision_hidden_size: Positive
    vision_intermediate_size: Positive
    vision_depth: Positive
    vision_heads: Positive
    deepstack_layers: tuple[int, ...]
    patch_size: Positive  # pixels
    max_side: Positive  # pixels; sizes the table of learned position embeddings
    vocab_size: Positive


@dataclass(frozen=True, config=STRICT)
class TinyBackboneTraining:
    """The recipe of the packaged tiny backbone, from random weights."""

    kind: Literal["tiny_backbone"]
    architecture: TinyArchitecture
    vision_steps: Annotated[int, Field(ge=0)]  # phase 0: the vision tower alone, on labelled scenes
    vision_batch_size: Positive  # scenes
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    batch_size: Positive
    optimizer: Literal["adamw", "muon"]  # muon: for the matrices inside the layers; AdamW for the rest
    learning_rate: Rate
    weight_decay: NonNegative
    warmup_fraction: Fraction
    gradient_clip: Rate
    questions_per_image: Positive  # drawn together at most, so that an image is encoded once
    shuffle_options: bool  # another order of the options every time a question is drawn
    flips: tuple[str, ...]  # sets whose images may be mirrored at random: no question of theirs tells left from right
    val_fraction: Fraction
    save_every: Positive  # steps
    seed: Seed
    num_threads: Positive
    num_workers: Annotated[int, Field(ge=0, le=64)]  # processes that make batches; 0 makes them between the steps


@dataclass(frozen=True, config=STRICT)
class PathsConfig:
    """Where things land."""

    runs: str  # every run's and sweep's folder
    store: str  # the outcome store
    data: str  # generated and prepared data sets


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One command of a pipeline."""

    name: str  # its folder inside the pipeline's
    entry: Literal["train", "eval"]
    sweep: bool
    overrides: tuple[str, ...]  # {folder} stands for the pipeline's folder


@dataclass(frozen=True, config=STRICT)
class PipelineConfig:
    """Commands to run in order."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class StoreConfig:
    """What to do with the outcome store."""

    prune: str | None  # delete tables whose id starts with this; null only lists
    confirm: bool  # false shows what would be deleted


Training = Annotated[PolicyTraining | TinyBackboneTraining, Field(discriminator="kind")]


@dataclass(frozen=True, config=STRICT)
class LeaksConfig:
    """What the leak guard lets pass; recorded in every summary."""

    allow: tuple[Literal["image", "question", "split"], ...]


@dataclass(frozen=True, config=STRICT)
class PrepareConfig:
    """What ``experiments.prepare`` compares the training set with, and what it leaves behind."""

    evaluation: dict[str, DatasetConfig]
    out: str | None  # a folder for the training set as JSONL with its images; null writes none
    drop: bool  # leave rows that leak out of it instead of refusing


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """One whole experiment: what an entry point receives."""

    name: str
    backbone: BackboneConfig
    policy: PolicyConfig
    vision_budget: VisionBudgetConfig
    dataset: DatasetConfig
    eval: EvalConfig
    training: Training
    paths: PathsConfig
    leaks: LeaksConfig
    pipeline: PipelineConfig | None = None  # experiments.pipeline only
    store: StoreConfig | None = None  # experiments.store only
    prepare: PrepareConfig | None = None  # experiments.prepare only
