"""A small study: a random policy over lambda, the fixed policies, a threshold and the oracle, on easy-VQA."""

from pathlib import Path

import pytest

from tests.conftest import Configure, compose_config
from tests.policy.test_route import policy_file
from vovnet.results.evaluate import evaluate
from vovnet.schema import RunConfig

COUNT = "eval.max_samples=72"
SETTINGS = {
    "full": ["policy/baseline=always_full"],
    "coarse": ["policy/baseline=always_coarse"],
    "none": ["policy/baseline=no_vision"],
    "threshold": ["policy/baseline=uncertainty_threshold", "policy.baseline.threshold=5.6"],
    "oracle": ["policy/baseline=oracle"],
    "pruned": ["policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.5"],
}


@pytest.fixture(scope="session")
def packaged(easy_data: Path) -> Configure:
    """A configuration with the packaged backbone, whose answers are often right; give ``paths.runs``."""
    return lambda *overrides, root="eval": compose_config(f"dataset.path={easy_data}", *overrides, root=root)


@pytest.fixture(scope="session")
def runs(packaged: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds them all, and the outcome store in ``outcomes``. Tests copy what they change."""
    folder = tmp_path_factory.mktemp("study") / "runs"

    def configure(*overrides: str) -> RunConfig:
        return packaged(f"paths.runs={folder}", *overrides)

    given = [f"eval.checkpoint={policy_file(configure(), folder / 'train/policy.safetensors')}", COUNT]
    for price in (0.0, 0.1, 0.5):
        evaluate(configure(*given, f"policy.lambda_cost={price}"), folder / f"vovnet_{price}")
    for name, overrides in SETTINGS.items():
        evaluate(configure(COUNT, *overrides), folder / name)
    evaluate(configure("eval.max_samples=8", "eval.mode=live", "eval.batch_size=1", *SETTINGS["full"]), folder / "live")
    return folder
