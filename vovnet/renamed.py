"""Names of the specification that are called otherwise here: flags, keys and scripts.

``experiments/README.zh.md`` shows the same table; a test compares both.
"""

from dataclasses import dataclass

NOTHING = ("null", "none", "None", "~", "''", '""', "")  # values that name no baseline


BASELINE = "policy/baseline={}"


@dataclass(frozen=True)
class Renamed:
    """A name of the specification, and what is typed instead.

    Attributes:
        ours: overrides, perhaps after ``-m``; ``{}`` stands for the value.
        example: a value with which ``ours`` composes.
        command: the entry point to use instead; None stays with the one that was called.
        note: what else there is to say.
    """

    name: str
    ours: str
    example: str = ""
    command: str | None = None
    note: str = ""

    def typed(self, value: str) -> str:
        """What to type for a value."""
        if self.ours == BASELINE and value in NOTHING:
            value = "none"
        return " ".join(filter(None, (self.command and f"experiments.{self.command}", self.ours.format(value))))

    @property
    def remark(self) -> str:
        """The note, as it follows what is typed."""
        return f" ({self.note})" if self.note else ""

    def sentence(self, value: str) -> str:
        """What to say where the name is given."""
        return f"{self.name} is a name of the specification; write {self.typed(value)} instead{self.remark}"


UNCERTAINTY, PRUNING, RANDOM = (
    f"policy/baseline={name} policy.baseline."
    for name in ("uncertainty_threshold", "vision_token_pruning_proxy", "random_policy_matched")
)
TRIPLES = "[[1,0,0],[0,1,0],[0,0,1]]"

TABLE = (
    Renamed("--config", "+experiment=a1_pareto", note="options are chosen one by one, such as backbone=qwen3_vl_8b"),
    Renamed("--dataset_config", "dataset={}", "mmbench"),
    Renamed("--output_dir", "paths.runs={}", "outputs"),
    Renamed("--checkpoint", "eval.checkpoint={}", "FILE", note="a .pt file: eval.ddp_checkpoint_path"),
    Renamed("--max_samples", "eval.max_samples={}", "200"),
    Renamed("--pareto", "-m policy.lambda_cost={}", "0,0.05"),
    Renamed("--thresholds", f"-m {UNCERTAINTY}threshold={{}}", "0.1,0.2"),
    Renamed("--uncertainty", UNCERTAINTY + "uncertainty={}", "entropy"),
    Renamed("--vision", UNCERTAINTY + "vision={}", "full"),
    Renamed("--ratios", f"-m {PRUNING}pruning_ratio={{}}", "1.0,0.5"),
    Renamed("--mode", PRUNING + "pruning_mode={}", "stride"),
    Renamed("--nproc_per_node", "trainer=ddp trainer.devices={}", "8"),
    Renamed("policy.baseline_name", BASELINE, "always_full"),
    Renamed("policy.baseline_uncertainty", UNCERTAINTY + "uncertainty={}", "margin"),
    Renamed("policy.baseline_threshold", UNCERTAINTY + "threshold={}", "0.5"),
    Renamed("policy.baseline_vision", UNCERTAINTY + "vision={}", "coarse"),
    Renamed("policy.baseline_target_ratios", RANDOM + "target_ratios={}", "[0.2,0.3,0.5]"),
    Renamed("policy.baseline_seed", RANDOM + "seed={}", "42"),
    Renamed("policy.baseline_bucket_ratios", RANDOM + "bucket_ratios={}", TRIPLES),
    Renamed("policy.baseline_bucket_thresholds", RANDOM + "bucket_thresholds={}", "[0.1,0.2]"),
    Renamed("policy.baseline_pruning_ratio", PRUNING + "pruning_ratio={}", "0.5"),
    Renamed("policy.baseline_pruning_mode", PRUNING + "pruning_mode={}", "topk_norm"),
    Renamed("data.train_jsonl", "dataset=jsonl dataset.path={}", "FOLDER", note="it holds train.jsonl"),
    Renamed("data.eval_jsonl", "dataset=jsonl dataset.path={}", "FOLDER", note="it holds test.jsonl"),
    Renamed("data.prompt_template", "dataset.prompt_template={}", "'{question}'"),
    Renamed("eval.profile", "", command="profile"),
    Renamed("eval.use_cache", "eval.cache_reuse={}", "false"),
    Renamed("use_cache", "eval.cache_reuse={}", "false"),
    Renamed("output_dir", "paths.runs={}", "outputs"),
    Renamed("seed", "training.seed={}", "42", note="of sampled decoding: eval.seed"),
    Renamed("scripts.eval", "", command="eval"),
    Renamed("scripts.train_ddp", "trainer=ddp trainer.devices=8", command="train"),
    Renamed("scripts.pareto_threshold", "+experiment=b2_threshold", command="eval"),
    Renamed("scripts.pareto_pruning", "+experiment=b4_pruning", command="pipeline"),
    Renamed("scripts.oracle_action", "+experiment=h1_oracle", command="oracle"),
    Renamed("scripts.error_slices", "+experiment=e2_error_slices", command="error_slices"),
)
RENAMED = {row.name: row for row in TABLE}
