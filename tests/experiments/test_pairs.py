"""Settings of any two blocks can be joined: they end in results, or in one sentence that says why not."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.composer import small_configurations
from tests.conftest import Configure
from tests.policy.test_route import policy_file
from vovnet.errors import VoVNetError
from vovnet.results.evaluate import evaluate

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
BASELINES = tuple(name for name, (first, *_) in SETTINGS.items() if first.startswith("policy/baseline="))
# Neither the cascade nor the oracle reads the text pass that a fallback looks at, and the oracle is no live policy.
REFUSED = [{"cascade", "E1 coarse"}, {"cascade", "E1 full"}, {"H1", "E1 coarse"}, {"H1", "E1 full"}, {"H1", "F1"}]
# Each two of the settings that are no baselines are in one of these. VoVNet decides under all.
TOGETHER = (
    ("D2", "D4", "E1 coarse", "F2", "pruned FULL"),
    ("D2", "D4", "E1 full", "pruned FULL", "sandwich"),
    ("D2", "E1 coarse", "F1", "F2", "pruned FULL", "sandwich"),
    ("D4", "E1 full", "F1", "F2"),
)


def joined() -> Iterator[tuple[str, ...]]:
    """Blocks that run together: what a baseline refuses is left out."""
    yield from TOGETHER
    for baseline in BASELINES:
        for others in TOGETHER[1:3]:  # in which each setting is
            yield (baseline, *(name for name in others if {baseline, name} not in REFUSED))


BLOCKS = list(dict.fromkeys(joined()))


@pytest.fixture(scope="module")
def compose(easy_data: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> Configure:
    return small_configurations(easy_data, qwen3, tmp_path_factory.mktemp("pairs") / "runs")


def test_every_pair_is_run_or_refused() -> None:
    run = {frozenset(pair) for blocks in BLOCKS for pair in itertools.combinations(blocks, 2)}
    one_of = (set(BASELINES), {"E1 coarse", "E1 full"})
    pairs = [set(pair) for pair in itertools.combinations(SETTINGS, 2) if not any(set(pair) <= same for same in one_of)]
    assert [pair for pair in pairs if pair not in run and pair not in REFUSED] == []


@pytest.mark.parametrize("blocks", BLOCKS, ids=[" ".join(blocks) for blocks in BLOCKS])
def test_settings_together_end_in_results(blocks: tuple[str, ...], compose: Configure, tmp_path: Path) -> None:
    given = itertools.chain.from_iterable(SETTINGS[name] for name in blocks)
    config = compose("eval.max_samples=6", *given, f"eval.checkpoint={tmp_path}/policy.safetensors")
    if not config.policy.baseline.name:
        policy_file(config, tmp_path / "policy.safetensors")
    row = evaluate(config, tmp_path / "run").row
    lines = [json.loads(line) for line in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    assert len(lines) == row.num_samples == 6
    space = {"no", "full"} if config.policy.action_space == "binary" else {"no", "coarse", "full"}
    for line in lines:
        assert line.get("values", {}).keys() <= space  # a fallback's own action has no estimate


@pytest.mark.parametrize("pair", REFUSED, ids=[" ".join(sorted(pair)) for pair in REFUSED])
def test_what_a_baseline_cannot_do_is_refused_in_a_sentence(pair: set[str], compose: Configure, tmp_path: Path) -> None:
    config = compose("eval.max_samples=6", *itertools.chain.from_iterable(SETTINGS[name] for name in sorted(pair)))
    with pytest.raises(VoVNetError, match=r"^[^\n]*; [^\n]*$"):
        evaluate(config, tmp_path)


def test_a_fallback_to_coarse_leaves_a_binary_policy_its_two_values(compose: Configure, tmp_path: Path) -> None:
    given = (*SETTINGS["D4"], *SETTINGS["E1 coarse"], "policy.lambda_cost=9", "eval.max_samples=6")
    config = compose(*given, f"eval.checkpoint={tmp_path}/policy.safetensors")
    policy_file(config, tmp_path / "policy.safetensors")
    row = evaluate(config, tmp_path / "run").row
    assert (row.action_rate_coarse, row.fallback_trigger_rate) == (1, 1)
    (first, *_) = map(json.loads, (tmp_path / "run/predictions.jsonl").read_text().splitlines())
    assert first["values"].keys() == {"no", "full"}
