"""Replay and live agree, sample by sample."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import vovnet
from tests.conftest import Configure
from vovnet.actions import USUAL
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.rows import BRANCH_COLUMNS
from vovnet.policy.card import make_card
from vovnet.policy.checkpoint import save_policy
from vovnet.policy.features import feature_width
from vovnet.policy.head import PolicyHead, SequentialHead
from vovnet.results.evaluate import Evaluation, evaluate
from vovnet.schema import RunConfig
from vovnet.vlm.files import find_checkpoint

TINY = Path(vovnet.__file__).parent / "vlm/checkpoints/tiny"
COUNT = "eval.max_samples=48"
ROUNDS_ALIKE = pytest.mark.skipif(
    torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor rounds bfloat16 by the shape of a batch"
)


def policy_file(config: RunConfig, path: Path, spread: float = 2.0, data_fingerprint: str = "") -> Path:
    """A head with random weights that spreads its choices over all actions."""
    torch.manual_seed(3)
    checkpoint = find_checkpoint(config.backbone)
    width = feature_width(config.policy.feature_mode, checkpoint.text_config["hidden_size"])
    units, actions = config.policy.hidden_size, len(config.menu)
    if config.policy.procedure == "sequential":
        again = SequentialHead(width, width + 1, units, actions)
        for parameter in again.parameters():
            torch.nn.init.normal_(parameter, std=spread / 10)
        save_policy(path, again, make_card(config, checkpoint, width, data_fingerprint))
        return path
    head = PolicyHead(width, units, actions, bounded=True)
    torch.nn.init.normal_(head.output.weight, std=spread)
    save_policy(path, head, make_card(config, checkpoint, width, data_fingerprint))
    return path


def both(configure: Configure, tmp_path: Path, *overrides: str) -> tuple[Evaluation, Evaluation]:
    path = policy_file(configure(*overrides), tmp_path / "policy.safetensors")
    given = (f"eval.checkpoint={path}", COUNT, *overrides)
    replayed = evaluate(configure(*given), tmp_path / "replay")
    live = evaluate(configure("eval.mode=live", *given), tmp_path / "live")
    return replayed, live


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings that read and decode alike are collected once."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("eval.batch_size=1",),
        ("eval.cache_reuse=false",),
        ("backbone.prompt_order=image_first",),
        ("backbone.prompt_order=sandwich",),
        ("policy.action_space=binary",),
        ("policy.feature_mode=hidden",),
        pytest.param(("backbone.dtype=bfloat16",), marks=ROUNDS_ALIKE),
        ("backbone.dtype=bfloat16", "eval.batch_size=1"),
        ("policy/baseline=always_full",),
        ("policy/baseline=always_coarse",),
        ("policy/baseline=no_vision",),
        ("policy/baseline=uncertainty_threshold", "policy.baseline.threshold=5.6"),
        ("policy/baseline=random_policy_matched", "policy.baseline.target_ratios=[0.3,0.3,0.4]", "eval.batch_size=7"),
        ("policy/baseline=cascade", "policy.baseline.threshold=1e-5"),
        ("policy/baseline=resolution_scaling",),
        ("policy/baseline=vision_token_pruning_proxy",),
        ("policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_mode=merge", "eval.batch_size=5"),
        ("policy.fallback_mode=full", "policy.fallback_margin_threshold=0.01", "policy.lambda_cost=0.3"),
        ("policy.full_pruning_ratio=0.5", "eval.batch_size=5"),
        ("policy.action_space=ladder",),
        ("policy.interpolate=2", "policy.lambda_cost=0.5"),
        ("policy.looks=[no,{long_side:24},{long_side:64,merge:0.5},full]", "eval.batch_size=5"),
        ("policy.looks=[no,coarse,{random:0.3}]", "eval.cache_reuse=false"),
        ("policy=sequential", "policy.action_space=ladder"),
        ("backbone.implementation=generic", "policy.looks=[no,coarse,{long_side:24},full]"),
        ("policy=sequential", "policy.looks=[no,{long_side:24},{long_side:48,pool:0.6},full]", "eval.batch_size=7"),
        ("policy/baseline=always_look", "policy.baseline.look={long_side:32,merge:0.75}"),
        ("policy=sequential",),
        ("policy.cost_unit=flops", "eval.batch_size=3"),
        ("policy.cost_unit=flops", "policy.full_pruning_ratio=0.5"),
        ("policy.cost_unit=flops", "policy/baseline=vision_token_pruning_proxy"),
        ("policy=sequential", "eval.batch_size=7", "policy.feature_mode=hidden"),
        ("policy=sequential", "backbone.prompt_order=image_first", "policy.lambda_cost=0.02"),
        ("policy.full_pruning_ratio=0.3", "policy.full_pruning_mode=pool", "eval.cache_reuse=false"),
    ],
)
def test_replay_equals_live(configure: Configure, store: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    replayed, live = (e.routed for e in both(configure, tmp_path, f"paths.store={store}", *overrides))
    assert np.array_equal(replayed.actions, live.actions)
    assert np.array_equal(replayed.cost, live.cost)
    assert np.array_equal(replayed.text_tokens, live.text_tokens)
    for column in set(BRANCH_COLUMNS) - {"seconds", "nll", "confidence"}:
        assert np.array_equal(getattr(replayed.chosen, column), getattr(live.chosen, column)), column
    tolerance = 0.1 if "bfloat16" in str(overrides) else 1e-3
    assert np.allclose(replayed.chosen.confidence, live.chosen.confidence, rtol=tolerance)


def test_in_half_precision_other_batches_change_few_answers(configure: Configure, tmp_path: Path) -> None:
    """Processors with products in bfloat16 (AVX-512) round by the shape of a batch; random weights say next to ties."""
    replayed, live = (e.routed for e in both(configure, tmp_path, "backbone.dtype=bfloat16"))
    assert np.mean(replayed.actions == live.actions) > 0.9
    assert np.mean(replayed.chosen.prediction == live.chosen.prediction) > 0.9


def test_the_random_head_really_mixes_actions(configure: Configure, tmp_path: Path) -> None:
    replayed, _ = both(configure, tmp_path, "policy.lambda_cost=0.01")
    assert len(Counter(replayed.routed.actions.tolist())) == len(USUAL)


def test_rows_agree_but_for_what_only_live_measures(configure: Configure, tmp_path: Path) -> None:
    replayed, live = (e.row for e in both(configure, tmp_path, "eval.batch_size=1"))
    assert replayed.latency_p50_ms is None
    assert live.latency_p50_ms is not None
    assert live.latency_p90_ms >= live.latency_p50_ms > 0
    for name in ("accuracy", "avg_cost", "avg_text_tokens", "prefill_gflops", "action_ratio", "unparsed_rate"):
        assert getattr(replayed, name) == getattr(live, name)


def test_a_fixed_policy_pays_for_no_text_pass(configure: Configure, tmp_path: Path) -> None:
    replayed, _ = both(configure, tmp_path, "policy/baseline=always_full")
    chosen = replayed.routed.chosen
    assert (replayed.routed.text_tokens == 0).all()
    assert (chosen.reused_tokens == 0).all()
    assert replayed.row.avg_text_tokens == (chosen.prompt_tokens - chosen.vision_tokens).mean()


def test_average_cost_never_rises_with_lambda(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    costs = [
        evaluate(
            configure(f"eval.checkpoint={path}", COUNT, f"policy.lambda_cost={lam}"), tmp_path / "run"
        ).row.avg_cost
        for lam in (0, 0.01, 0.02, 0.05, 0.1, 0.3, 1, 100)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0
    assert costs[0] > 0


def test_latency_counts_the_text_pass(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At batch size 1, from question to answer; in larger batches there is no latency of a sample."""
    import time

    from vovnet.policy import route

    original = route.read_text
    monkeypatch.setattr(route, "read_text", lambda *a: (time.sleep(0.05), original(*a))[1])
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    given = (f"eval.checkpoint={path}", "eval.max_samples=6", "eval.mode=live")
    assert evaluate(configure(*given, "eval.batch_size=1"), tmp_path / "one").row.latency_p50_ms > 50
    assert evaluate(configure(*given, "eval.batch_size=6"), tmp_path / "six").row.latency_p50_ms is None


@pytest.mark.parametrize("mode", ["live", "replay"])
def test_an_answer_without_looking_opens_no_image(
    configure: Configure, easy_data: Path, tmp_path: Path, mode: str
) -> None:
    folder = Path(shutil.copytree(easy_data, tmp_path / "data"))
    for image in (folder / "test/images").iterdir():
        image.write_bytes(b"no image")
    given = (COUNT, f"dataset.path={folder}", f"eval.mode={mode}")
    assert evaluate(configure(*given, "policy/baseline=no_vision"), tmp_path / "blind").row.avg_cost == 0
    if mode == "live":  # a threshold that nothing reaches; replay would collect FULL as well
        never = ("policy/baseline=uncertainty_threshold", "policy.baseline.threshold=100")
        assert evaluate(configure(*given, *never), tmp_path / "never").row.avg_cost == 0
    with pytest.raises(VoVNetError, match=r"image .*png cannot be read"):
        evaluate(configure(*given, "policy/baseline=always_full"), tmp_path / "full")


def test_a_policy_moves_to_another_backbone_of_its_width_when_asked(
    configure: Configure, tmp_path: Path, qwen25: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told apart from the other backbone's own: by a warning, and by columns."""
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    other = (COUNT, f"eval.checkpoint={path}", f"backbone.path={qwen25}")
    with pytest.raises(VoVNetError, match=r"belongs to backbone .* or set eval\.other_backbone=true to try it"):
        evaluate(configure(*other), tmp_path / "refused")
    rows = [
        evaluate(configure(*other, "eval.other_backbone=true", f"eval.mode={mode}"), tmp_path / mode).row
        for mode in ("replay", "live")
    ]
    assert "trained on the hidden states of backbone" in caplog.text
    assert rows[0].action_ratio == rows[1].action_ratio
    assert rows[0].policy_backbone is not None
    assert rows[0].policy_backbone != rows[0].backbone
    own = evaluate(configure(COUNT, f"eval.checkpoint={path}", "eval.other_backbone=true"), tmp_path / "own").row
    assert own.policy_backbone is None


def test_a_policy_does_not_move_to_a_backbone_of_another_width(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure("policy.feature_mode=hidden"), tmp_path / "policy.safetensors")
    given = (COUNT, f"eval.checkpoint={path}", "policy.feature_mode=hidden", "eval.other_backbone=true")
    with pytest.raises(
        VoVNetError, match=r"reads 48 features, this backbone gives 96; eval\.other_backbone=true needs"
    ):
        evaluate(configure(*given, f"backbone.path={TINY}"), tmp_path / "run")


def test_a_fallback_may_take_the_training_split_s_own_quantile(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    given = (COUNT, f"eval.checkpoint={path}", "policy.fallback_mode=full", "training.max_samples=40")
    row = evaluate(configure(*given, "policy.fallback_entropy_quantile=0.5"), tmp_path / "quantile").row
    config = configure()
    dataset = load_dataset(config.dataset, "train")
    text = load_outcomes(config, find_checkpoint(config.backbone), dataset, (), 40).outcomes.text
    assert row.fallback_entropy_threshold == pytest.approx(np.median(text.entropy), rel=1e-3)
    same = evaluate(
        configure(*given, f"policy.fallback_entropy_threshold={row.fallback_entropy_threshold}"), tmp_path / "nats"
    ).row
    assert (same.action_ratio, same.fallback_trigger_rate) == (row.action_ratio, row.fallback_trigger_rate)
