"""Settings of any two blocks can be joined: each pair ends in results, or in one sentence that says why not."""

import itertools
import json
from pathlib import Path

import pytest

from tests.composer import small_configurations
from tests.conftest import Configure
from tests.policy.test_route import policy_file
from vovnet.errors import VoVNetError
from vovnet.results.evaluate import evaluate
from vovnet.schema import NoBaseline

SETTINGS = {
    "B1": ("policy/baseline=no_vision",),
    "B2": ("policy/baseline=uncertainty_threshold", "policy.baseline.vision=coarse"),
    "B3": ("policy/baseline=random_policy_matched", "policy.baseline.target_ratios=[0.3,0.3,0.4]"),
    "B4": ("policy/baseline=vision_token_pruning_proxy",),
    "cascade": ("policy/baseline=cascade",),
    "D2": ("policy/objective=mixture", "policy.use_straight_through=false"),
    "D4": ("policy.action_space=binary",),
    "E1 coarse": ("policy.fallback_mode=coarse", "policy.fallback_entropy_threshold=0"),
    "E1 full": ("policy.fallback_mode=full", "policy.fallback_margin_threshold=1"),
    "F1": ("eval.mode=live", "eval.batch_size=1"),
    "F2": ("eval.cache_reuse=false",),
    "H1": ("policy/baseline=oracle",),
    "pruned FULL": ("policy.full_pruning_ratio=0.5",),
    "sandwich": ("backbone.prompt_order=sandwich",),
}
PAIRS = [  # one baseline decides at a time
    pair
    for pair in itertools.combinations(SETTINGS, 2)
    if not all(SETTINGS[name][0].startswith("policy/baseline=") for name in pair)
]
# Neither the cascade nor the oracle reads the text pass that a fallback looks at, and the oracle is no live policy.
REFUSED = [{"cascade", "E1 coarse"}, {"cascade", "E1 full"}, {"H1", "E1 coarse"}, {"H1", "E1 full"}, {"H1", "F1"}]


@pytest.fixture(scope="module")
def compose(easy_data: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Configure:
    return small_configurations(easy_data, qwen3, tmp_path_factory.mktemp("pairs") / "runs")


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one} with {other}" for one, other in PAIRS])
def test_a_pair_of_settings_ends_in_results_or_a_sentence(
    one: str, other: str, compose: Configure, tmp_path: Path
) -> None:
    given = (*SETTINGS[one], *SETTINGS[other])
    config = compose("eval.max_samples=6", *given, f"eval.checkpoint={tmp_path}/policy.safetensors")
    if isinstance(config.policy.baseline, NoBaseline):
        policy_file(config, tmp_path / "policy.safetensors")
    if {one, other} in REFUSED:
        with pytest.raises(VoVNetError, match=r"^[^\n]*; [^\n]*$"):
            evaluate(config, tmp_path / "run")
        return
    row = evaluate(config, tmp_path / "run").row
    lines = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert len(lines) == row.num_samples == 6
    space = {"no", "full"} if config.policy.action_space == "binary" else {"no", "coarse", "full"}
    for line in lines:
        assert line.get("values", {}).keys() <= space  # a fallback's own action has no estimate


def test_a_fallback_to_coarse_leaves_a_binary_policy_its_two_values(compose: Configure, tmp_path: Path) -> None:
    given = (*SETTINGS["D4"], *SETTINGS["E1 coarse"], "policy.lambda_cost=9", "eval.max_samples=6")
    config = compose(*given, f"eval.checkpoint={tmp_path}/policy.safetensors")
    policy_file(config, tmp_path / "policy.safetensors")
    row = evaluate(config, tmp_path / "run").row
    assert (row.action_rate_coarse, row.fallback_trigger_rate) == (1, 1)
    (first, *_) = map(json.loads, (tmp_path / "run/predictions.jsonl").read_text().splitlines())
    assert first["values"].keys() == {"no", "full"}
