"""Published sizes at tiny scale: every figure is there, floors count what is computed, checks can fail."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import rotary_flops
from tests.performance import floors
from tests.performance.__main__ import Options, configured, run, show
from tests.performance.clock import once
from tests.performance.floors import Rates, Work
from tests.performance.measure import Measurement
from tests.performance.phases import checks, new_and_past
from tests.performance.random_weights import PUBLISHED, random_backbone, sizes_of
from tests.performance.routing import deal
from tests.performance.workload import Bench, Timing, make_bench
from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig
from vovnet.vlm.qwen.forward import Prefill
from vovnet.vlm.qwen.model import Backbone

PARTS = ["checks", "phases", "targets", "proportion", "pruning", "live", "learning", "attention"]


def options(size: str) -> Options:
    return Options(only=tuple(PARTS), rounds=1, random=f"qwen3_vl_{size}", tiny=True)


def configure(*overrides: str, size: str = "8b") -> RunConfig:
    return configured(options(size), ("backbone.device=cpu", *overrides))


@pytest.fixture(scope="module")
def bench() -> Bench:
    """Attention by plain matrix products, whose operations torch counts on every device."""
    return make_bench(configure("backbone.attn_implementation=eager", "backbone.dtype=float32"), tiny=True, rounds=1)


@pytest.mark.parametrize("size", ["8b", "2b"])
def test_every_part_leaves_its_figures_and_a_table(
    size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(configure(size=size), options(size), tmp_path)
    show(found, tmp_path)
    assert "reuse against one pass" in capsys.readouterr().out
    written = json.loads((tmp_path / "performance.json").read_text())
    assert set(written["part_seconds"]) == set(PARTS)
    assert written["matrix_tflops"] > 0
    cases = {(t["part"], t["case"]) for t in written["timings"] if t["seconds"]}
    assert ("live routing", "30/40/30 NO/COARSE/FULL") in cases
    assert ("prefill", "full 192x128, no reuse") in cases
    assert all(t["seconds"] or t["note"].startswith("not present") for t in written["timings"])
    # How near a time comes to its floor is for a machine with nothing else to do; here it must only be known.
    assert all(t["share_of_floor"] > 0 for t in written["timings"] if t["seconds"] and t["floor"])
    table = (tmp_path / "performance.md").read_text()
    assert all(f"| {one.name} |" in table for one in found if isinstance(one, Measurement))


@pytest.mark.parametrize(("name", "billions"), [("qwen3_vl_8b", 8.767), ("qwen3_vl_2b", 2.128)])
def test_the_published_sizes_have_the_published_number_of_weights(name: str, billions: float) -> None:
    config = replace(configure().backbone, name=name)
    sizes = sizes_of(config, tiny=False)
    assert sizes == PUBLISHED[name]
    text = sizes.text
    head = text.hidden * text.vocab * (1 if text.tied else 2)
    vision = floors.vision(sizes, [1]).traffic / floors.WIDTH
    assert (text.layers * floors.layer_weights(text) + head + vision) / 1e9 == pytest.approx(billions, rel=0.002)


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("action", VISUAL_ACTIONS)
def test_a_prefills_floor_counts_the_operations_that_torch_counts(bench: Bench, action: Action, reuse: bool) -> None:
    image, size = bench.load.images[1], 3
    batch = bench.batch(size, image)
    with torch.no_grad(), bench.cache_reuse(reuse):
        text = bench.backbone.text_pass(batch)
        with FlopCounterMode(display=False) as counted:
            bench.backbone.look(batch, action, text)
    new, past = new_and_past(bench, image, action, reuse)
    expected = (
        floors.vision(bench.sizes, [bench.patches(image, action)] * size)
        + floors.language(bench.sizes.text, [new] * size, [past] * size, causal=False)
        + floors.output(bench.sizes.text, size)
    )
    assert counted.get_total_flops() - rotary_flops(counted) == expected.flops


def test_a_causal_prefill_does_half_the_attention() -> None:
    text = PUBLISHED["qwen3_vl_8b"].text
    whole, causal = (floors.language(text, [1000], [0], causal=c).flops for c in (False, True))
    matrices = 2 * text.layers * floors.layer_weights(text) * 1000
    assert (causal - matrices) / (whole - matrices) == pytest.approx(0.5, rel=1e-2)


def test_decoding_reads_every_weight_and_the_growing_cache_at_each_step() -> None:
    text = PUBLISHED["qwen3_vl_2b"].text
    weights = text.layers * floors.layer_weights(text) + text.hidden * text.vocab
    column = 2 * text.layers * text.kv_heads * text.head_dim
    found = floors.decoding(text, [100, 50], 3)
    assert found.traffic == 2 * (2 * weights + (101 + 51 + 102 + 52) * column)


def test_a_floor_is_the_slower_of_arithmetic_and_traffic() -> None:
    rates = Rates(flops=100.0, bandwidth=10.0)
    assert rates.floor(Work(flops=200, traffic=5)) == 2.0
    assert rates.floor(Work(flops=200, traffic=50)) == 5.0


def test_time_on_a_cpu_is_the_walls() -> None:
    import time

    assert once(lambda: time.sleep(0.02), torch.device("cpu")) == pytest.approx(0.02, rel=0.5)


def test_a_wrong_reuse_fails_its_checks_loudly(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    look = Backbone.look

    def shifted(self: Backbone, batch, action, text, images=None):  # type: ignore[no-untyped-def]
        """Continue the cache of other questions, as stale rows would."""
        rolled: Prefill | None = text if text is None else text.rows([*range(1, len(batch)), 0])
        return look(self, batch, action, rolled, images)

    monkeypatch.setattr(Backbone, "look", shifted)
    with torch.inference_mode():
        found = list(checks(bench))
    broken = [one for one in found if isinstance(one, Measurement) and not one.passed]
    assert len(broken) >= 2
    with pytest.raises(VoVNetError, match="count for nothing"):
        show(found, tmp_path)


def test_deals_keep_their_shares() -> None:
    assert sorted(deal((0.3, 0.4, 0.3), 10).tolist()) == [0] * 3 + [1] * 4 + [2] * 3
    assert deal((0.0, 0.0, 1.0), 4).tolist() == [2] * 4


def test_the_same_seed_draws_the_same_weights() -> None:
    config = configure()
    sizes = sizes_of(config.backbone, tiny=True)
    one, other = (random_backbone(config.backbone, config.vision_budget, sizes).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_missing_kernel_is_a_row_and_no_error(bench: Bench) -> None:
    row = Timing("attention", "flash_attention_2", 0, 0, None, note="not present: no package flash_attn").as_json()
    assert row["seconds"] is None
    assert row["tokens_per_second"] is None
