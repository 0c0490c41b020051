"""The recipe for published data, end to end: files in the upstream formats, a shrunken backbone of the same kind."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.commands import command
from tests.data.test_other_sets import TURNS, llava
from vovnet.data.mini.generate import ensure_mini
from vovnet.options import conf_dir
from vovnet.schema import GenerateConfig

SETS = {"mmbench": (1, 4), "mmmu": (1, 8), "textvqa": (12, 4)}  # images of each split
ROWS = 3 * (1 + 3)  # sets, values of lambda and fixed policies


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder as experiments/real_data.md describes it."""
    for name, (train, test) in SETS.items():
        ensure_mini(f"mini_{name}", tmp_path / name, GenerateConfig(seed=0, train_images=train, test_images=test))
    rows = [{"id": str(n), "image": "000000033471.jpg", "conversations": TURNS} for n in range(6)]
    llava(tmp_path / "llava", rows)
    return tmp_path


@pytest.mark.slow
def test_the_recipe_runs_on_upstream_files(published: Path, qwen3: Path) -> None:
    runs = published / "runs"
    model = [f"backbone.path={qwen3}", "backbone.dtype=float32", "vision_budget=tiny"]
    sizes = ["training.epochs=1", "eval.max_samples=4", "eval.max_new_tokens=3"]
    # The mini sets ask the same words in training and test, which twelve images do not make a template.
    sizes += ["leaks.allow=[question]", "policy.lambda_cost=0.1"]
    places = [f"paths.data={published}", f"paths.runs={runs}"]
    process = command("pipeline", "+experiment=qwen3_vl_8b", *model, *sizes, *places)
    assert process.returncode == 0, process.stderr
    with (runs / "qwen3_vl_8b/results.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == ROWS
    assert {row["dataset"] for row in found} == SETS.keys()
    trained = json.loads((runs / "qwen3_vl_8b/train/summary.json").read_text())
    assert set(trained["config"]["dataset"]["parts"]) == {"llava", "textvqa"}


def test_both_recipes_differ_in_their_model_only() -> None:
    stages = {}
    for name in ("qwen3_vl_8b", "internvl3_5_8b"):
        content = (conf_dir() / f"experiment/{name}.yaml").read_text()
        stages[name] = yaml.safe_load(content.replace(name, "MODEL"))
    assert stages["qwen3_vl_8b"] == stages["internvl3_5_8b"]
