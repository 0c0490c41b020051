"""Frozen results of twelve commands on the packaged backbone; each names its data set and lambda.

python -m tests.golden      (writes tests/golden.json anew: only where results are meant to change)
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import compose_config
from tests.policy.test_route import policy_file
from vovnet.results.columns import ResultRow
from vovnet.results.evaluate import evaluate
from vovnet.session import Session

FILE = Path(__file__).with_name("golden.json")
QUESTIONS = ("dataset=easy_vqa", "eval.split=test", "eval.max_samples=40")
RANDOM = "policy/baseline=random_policy_matched"
COMMANDS = {
    "lambda 0": ("policy.lambda_cost=0",),
    "lambda 0.05": ("policy.lambda_cost=0.05",),
    "lambda 0.3, fallback": (
        "policy.lambda_cost=0.3",
        "policy.fallback_mode=full",
        "policy.fallback_margin_threshold=0.5",
    ),
    "live": ("policy.lambda_cost=0.05", "eval.mode=live"),
    "always_full": ("policy/baseline=always_full",),
    "always_coarse": ("policy/baseline=always_coarse",),
    "no_vision": ("policy/baseline=no_vision",),
    "threshold": ("policy/baseline=uncertainty_threshold", "policy.baseline.threshold=0.2"),
    "random": (RANDOM, "policy.baseline.target_ratios=[0.3,0.3,0.4]", "policy.baseline.seed=7"),
    "pruning": ("policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.5"),
    "cascade": ("policy/baseline=cascade", "policy.baseline.threshold=0.99"),
    "oracle": ("policy/baseline=oracle", "policy.baseline.rule=utility", "policy.lambda_cost=0.05"),
}
NUMBERS = (
    "accuracy accuracy_ci_low accuracy_ci_high official_score avg_cost avg_vision_tokens avg_text_tokens avg_patches "
    "avg_generated_tokens prefill_gflops action_rate_no action_rate_coarse action_rate_full unparsed_rate"
).split()


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """What each command finds."""
    session, found = Session(), {}
    policy = policy_file(compose_config(*QUESTIONS), folder / "policy.safetensors")
    for name, overrides in COMMANDS.items():
        given = [f"paths.runs={folder}", *QUESTIONS, *overrides]
        given += [] if any(o.startswith("policy/baseline") for o in overrides) else [f"eval.checkpoint={policy}"]
        row = evaluate(compose_config(*given), folder / "run", session).row
        found[name] = numbers(row) | {"answers": _answers(folder / "run/predictions.jsonl")}
    return found


def numbers(row: ResultRow) -> dict[str, Any]:
    """The numbers of a row that a change of the code must not change."""
    return {name: getattr(row, name) for name in NUMBERS}


def _answers(path: Path) -> str:
    """A digest of what was done to each question."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    told = [[line[name] for name in ("id", "action", "prediction", "score", "vision_tokens")] for line in lines]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        FILE.write_text(json.dumps(results(Path(place)), indent=1) + "\n", encoding="utf-8")
