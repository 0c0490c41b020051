"""Every block of the specification has a recipe that composes, and the analyses run as typed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import command, last_line
from tests.conftest import compose_config
from tests.experiments.test_commands import base, rows  # noqa: F401
from vovnet.options import conf_dir
from vovnet.results.columns import evaluated
from vovnet.results.read import read_results

BLOCKS = (
    "a0_train a0_two_stages a1_pareto a2_seeds b1_fixed b2_threshold b3_random_matched b4_pruning c1_generalization "
    "c1_leave_one_out c1_other_backbone sequential_menu "
    "collapse d1_features d2_mixture d3_lambda d4_action_space e1_fallback e2_error_slices equal_cost f1_profile "
    "f2_cache_reuse f3_precision g1_tables guide h1_oracle internvl3_5_8b "
    "learning_curve mvp paper qwen3_vl_8b question"
).split()


def header(name: str) -> str:
    return (conf_dir() / "experiment" / f"{name}.yaml").read_text()


def test_the_list_is_complete() -> None:
    assert {path.stem for path in (conf_dir() / "experiment").glob("*.yaml")} == set(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_recipe_names_the_command_that_composes_it(name: str) -> None:
    (entry, *_) = re.findall(rf"python -m experiments\.(\w+) \+experiment={name}\b", header(name))
    config = compose_config(f"+experiment={name}", root=entry)
    if entry != "train":
        assert config.name == name
    for stage in config.pipeline.stages if config.pipeline and entry == "pipeline" else ():
        fixed = [o for o in stage.overrides if "," not in o.replace("[", "").partition("=")[2]]
        compose_config(*(o.replace("{folder}", "/nowhere") for o in fixed), root=stage.entry)


def test_the_oracle_leaves_its_analysis(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    process = command("oracle", *base, "eval.max_samples=20", "name=oracle")
    assert process.returncode == 0, process.stderr
    (folder,) = (tmp_path / "runs/oracle").iterdir()
    analysis = json.loads((folder / "analysis_oracle.json").read_text())
    (row,) = rows(folder / "results.csv")
    assert float(row["accuracy"]) == pytest.approx(analysis["cheapest_correct"]["accuracy"])
    assert float(row["avg_cost"]) == pytest.approx(analysis["cheapest_correct"]["avg_cost"])
    assert analysis["num_samples"] == 20
    assert (folder / "summary.json").exists()


def test_error_slices_of_a_baseline(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    process = command("error_slices", *base, "eval.max_samples=30", "name=slices", "policy/baseline=always_full")
    assert process.returncode == 0, process.stderr
    (folder,) = (tmp_path / "runs/slices").iterdir()
    lines = rows(folder / "error_slices.csv")
    for name in ("action", "kind", "category"):
        assert sum(int(line["num_samples"]) for line in lines if line["slice"] == name) == 30
    assert "wasted_vision" in {line["value"] for line in lines}
    listed = json.loads((folder / "error_slices.json").read_text())["examples"]["wasted_vision"]
    assert set(listed[0]["branches"]) == {"no", "coarse", "full"}


@pytest.mark.slow
def test_random_matching_from_the_command_line(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    assert command("train", *base, "training.epochs=3").returncode == 0
    process = command("pipeline", *base, "+experiment=b3_random_matched", "eval.max_samples=40")
    assert process.returncode == 0, process.stderr
    found = rows(tmp_path / "runs/b3_random_matched/results.csv")
    assert len(found) == 11
    single = tmp_path / "runs/b3_random_matched/vovnet"
    printed = command("match", *base, f"policy.baseline.match={single}")
    assert "policy.baseline.target_ratios=[" in printed.stdout
    buckets = command("match", *base, f"policy.baseline.match={single}", "policy.baseline.buckets=true")
    assert "policy.baseline.bucket_thresholds=[" in buckets.stdout
    wrong = command("match", *base, "policy/baseline=no_vision")
    assert "is about random_policy_matched" in last_line(wrong)


def test_a_profile_measures_each_action_and_its_pieces(base: list[str], tmp_path: Path) -> None:  # noqa: F811
    arguments = (*base, "eval.max_samples=8", "profile.warmup=3", "name=profile", "policy/baseline=always_coarse")
    process = command("profile", *arguments)
    assert process.returncode == 0, process.stderr
    (folder,) = (tmp_path / "runs/profile").iterdir()
    lines = {(line["stage"], line["action"]): line for line in rows(folder / "profile.csv")}
    assert {action for stage, action in lines if stage == "end_to_end"} == {"routed", "no", "coarse", "full"}
    assert {stage for stage, action in lines if action == "full"} == {"end_to_end", "prepare", "prefill", "decode"}
    for line in lines.values():
        assert (line["batch_size"], line["num_samples"]) == ("1", "5")
        assert 0 < float(line["latency_p50_ms"]) <= float(line["latency_p90_ms"])
        assert float(line["mem_peak_mb"]) > 50  # of the process, where no GPU counts it
    tokens = [float(lines["end_to_end", action]["avg_vision_tokens"]) for action in ("no", "coarse", "routed", "full")]
    assert tokens == [0.0, 4.0, 4.0, 64.0]
    assert json.loads((folder / "summary.json").read_text())["device"] == "cpu"

    timed = read_results(folder / "results.csv")
    assert [row.baseline_name for row in timed] == ["always_coarse", "no_vision", "always_full"]
    for row, action in zip(timed, ("routed", "no", "full"), strict=True):
        line = lines["end_to_end", action]
        assert (row.mode, row.num_samples) == ("profile", 5)
        assert row.latency_p50_ms == float(line["latency_p50_ms"])
        assert row.avg_vision_tokens == float(line["avg_vision_tokens"])
    assert evaluated([*timed, replace(timed[0], mode="live")])[0].mode == "live"  # no check is of five questions

    again = command("profile", *arguments, "policy/baseline=vision_token_pruning_proxy")
    assert again.returncode == 0, again.stderr
    (pruned,) = (place for place in (tmp_path / "runs/profile").iterdir() if place != folder)
    names = [row.baseline_name for row in read_results(pruned / "results.csv")]
    assert names == ["vision_token_pruning_proxy", "no_vision", "always_coarse"]  # its FULL is not always_full's


def test_a_profile_needs_samples_after_its_warm_up(base: list[str]) -> None:  # noqa: F811
    process = command("profile", *base, "eval.max_samples=5", "policy/baseline=always_full")
    assert process.returncode == 1
    assert "raise eval.max_samples or lower profile.warmup" in last_line(process)
