"""The option files under ``conf``, and the names that the specification's flags have there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SHARED = ("defaults", "name", "hydra")  # keys of every root file


def conf_dir() -> Path:
    """The configuration folder: beside the package in a checkout, inside it when installed."""
    inside = Path(__file__).resolve().parent / "conf"
    return inside if inside.is_dir() else inside.parent.parent / "conf"


@cache
def groups() -> Mapping[str, tuple[str, ...]]:
    """The options of each config group, such as ``policy/baseline``; experiments are no options."""
    found: dict[str, list[str]] = {}
    for path in sorted(conf_dir().rglob("*/*.yaml")):
        group = path.parent.relative_to(conf_dir()).as_posix()
        if group not in ("experiment", "policy"):  # policy has one option
            found.setdefault(group, []).append(path.stem)
    return {group: tuple(options) for group, options in found.items()}


@cache
def commands() -> tuple[str, ...]:
    """The entry points, each of which has a root file."""
    return tuple(sorted(path.stem for path in conf_dir().glob("*.yaml") if path.stem != "base"))


@cache
def defaults() -> tuple[str, ...]:
    """The options that are chosen where none is given, as ``policy/baseline=none``."""
    chosen = []
    for path, prefix in ((conf_dir() / "base.yaml", ""), (conf_dir() / "policy/vovnet.yaml", "policy/")):
        entries = (entry for entry in _load(path)["defaults"] if isinstance(entry, dict))
        chosen += [f"{prefix}{group}={option}" for entry in entries for group, option in entry.items()]
    return tuple(chosen)


@cache
def owners() -> Mapping[str, tuple[str, ...]]:
    """What brings each key: options, as ``policy/baseline=cascade``, or a command, as ``experiments.report``."""
    found: dict[str, list[str]] = {}
    for group, options in groups().items():
        for option in options:
            for key in _option_keys(group, option):
                found.setdefault(key, []).append(f"{group}={option}")
    for command in commands():
        for key in _leaves(_load(conf_dir() / f"{command}.yaml"), ""):
            if key.partition(".")[0] not in SHARED:
                found.setdefault(key, []).append(f"experiments.{command}")
    return {key: tuple(names) for key, names in found.items()}


def _option_keys(group: str, option: str) -> Iterator[str]:
    """Keys that an option's file and the files that it includes put into a composition."""
    path = conf_dir() / group / f"{option}.yaml"
    everywhere = path.read_text(encoding="utf-8").startswith("# @package _global_")
    prefix = "" if everywhere else group.replace("/", ".") + "."
    content = _load(path)
    for included in content.get("defaults", ()):
        if isinstance(included, str) and "@" in included:  # a part of a mixture: easy_vqa@parts.easy_vqa
            name, _, place = included.partition("@")
            yield from _leaves(_load(path.parent / f"{name}.yaml"), f"{prefix}{place}.")
    yield from (key for key in _leaves(content, prefix) if key.partition(".")[0] not in ("defaults", "hydra"))


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return content


def _leaves(content: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Dotted keys of nested mappings, inner ones included."""
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")


# Names of the specification that are called otherwise here: flags, keys and scripts.
#
# ``experiments/README.zh.md`` shows the same table; a test compares both.

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
