"""Keys of an evaluation."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.code import Metrics
from vovnet.schema.ranges import STRICT, Count, Int, Place, Positive, Seed, Split, Temperature, Workers


@dataclass(frozen=True, config=STRICT)
class EvalConfig:
    """How outcomes are collected and decisions are scored; the same for every policy."""

    mode: Literal["replay", "live"]
    split: Split
    max_samples: Positive | None
    batch_size: Positive
    num_workers: Workers  # threads that prepare images; auto: on a GPU by the cores there are for it, on a CPU none
    chunk_rows: Positive  # rows per store file; at most this much work is lost when killed
    max_new_tokens: Annotated[Int, Field(gt=0, le=2**15)]
    num_beams: Annotated[Int, Field(gt=0, le=1000)]
    do_sample: bool
    temperature: Temperature
    cache_reuse: bool  # continue the text pass's key-value cache when the order allows it
    seed: Seed  # of sampled decoding and of the random fallback
    random_fallback: bool  # MMMU: draw a letter for a choice that cannot be read, as its evaluator does
    num_shards: Positive  # experiments.collect only: parts that the chunks of a split are dealt to
    shard: Count | None  # which part this job collects; null collects all
    checkpoint: Place | None  # policy file, or a folder of trainings; null takes the newest fitting under paths.runs
    ddp_checkpoint_path: (
        Place | None
    )  # a plain checkpoint-*.pt or Lightning .ckpt instead, see policy/ddp_checkpoint.py

    other_backbone: bool = False  # take a policy that another backbone of the same width was trained for
    metrics: Metrics = field(default_factory=dict)  # of the user's own, by the name of its column

    @model_validator(mode="after")
    def _one_policy(self) -> "EvalConfig":
        if self.checkpoint is not None and self.ddp_checkpoint_path is not None:
            raise ValueError("checkpoint and ddp_checkpoint_path exclude each other; set one of them to null")
        return self

    @model_validator(mode="after")
    def _shard_exists(self) -> "EvalConfig":
        if self.shard is not None and self.shard >= self.num_shards:
            raise ValueError(f"shard={self.shard} must be below num_shards={self.num_shards}")
        return self

    @model_validator(mode="after")
    def _one_way_of_decoding(self) -> "EvalConfig":
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample=true and num_beams>1 exclude each other")
        return self
