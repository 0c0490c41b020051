"""NaN and infinity are caught where they appear; half precision decides as float32 does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Configure, compose_config
from tests.policy.test_checkpoint import CARD
from vovnet.actions import USUAL, Action
from vovnet.data import item, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.branches import Group, check_finite, run_groups
from vovnet.outcomes.load import branch_backbone, load_outcomes
from vovnet.outcomes.rows import BlockRows, TextOutcomes
from vovnet.policy.decide import choose
from vovnet.policy.fixed import Always
from vovnet.policy.head import PolicyHead
from vovnet.policy.route import make_router
from vovnet.policy.vovnet import ValueHead
from vovnet.vlm.decoding import decoding_of
from vovnet.vlm.files import find_checkpoint


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_the_sample_is_named(configure: Configure, value: float) -> None:
    config = configure()
    dataset = load_dataset(config.dataset, "test")
    batch = branch_backbone(config).builder.build([item(dataset, i) for i in (3, 4, 5)], [])
    with pytest.raises(VoVNetError, match=rf"^sample {dataset[4].id}: the loss is NaN or infinite"):
        check_finite({"loss": torch.tensor([0.0, value, value])}, batch)


@pytest.mark.parametrize("action", list(USUAL))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_are_checked_in_collections_and_live(configure: Configure, action: Action, value: float) -> None:
    config = configure("eval.max_new_tokens=2")
    dataset = load_dataset(config.dataset, "test")
    router = make_router(config, dataset, Always(action))
    backbone = router.backbone
    items = [item(dataset, i) for i in (3, 4)]
    batch = backbone.builder.build(items, [action])
    kept = backbone.model.lm_head.weight.data.clone()
    backbone.model.lm_head.weight.data[7] = value
    try:
        with (
            torch.inference_mode(),
            pytest.raises(VoVNetError, match=rf"^sample {dataset[3].id}: the probability of the"),
        ):
            run_groups(backbone, [Group(batch, action, None)], decoding_of(config.eval), 0)
        with (
            torch.inference_mode(),
            pytest.raises(VoVNetError, match=rf"^sample {dataset[3].id}: the probability of the"),
        ):
            router(items)
    finally:
        backbone.model.lm_head.weight.data.copy_(kept)


def test_a_policys_values_are_checked() -> None:
    head = PolicyHead(4, 8, 3, bounded=True)
    head.scale[0] = 0.0
    hidden = np.zeros((3, 4), dtype=np.float32)
    text = TextOutcomes(BlockRows([hidden]), *(np.zeros(3, dtype=np.float32) for _ in range(3)))
    with pytest.raises(VoVNetError, match=r"values of question 0 of the split .* are NaN or infinite"):
        ValueHead(head.eval, CARD).values(text)


def test_bfloat16_acts_as_float32(tmp_path: Path, record_property) -> None:
    """One policy on the text passes of both precisions: the share of questions on which it acts alike."""
    actions = []
    for dtype in ("float32", "bfloat16"):
        config = compose_config(f"paths.runs={tmp_path}/{dtype}", f"backbone.dtype={dtype}", "eval.batch_size=64")
        dataset = load_dataset(config.dataset, "test")
        text = load_outcomes(config, find_checkpoint(config.backbone), dataset, (), 192).outcomes.text
        # A fixed linear policy on standardised hidden states, with thresholds inside their spread.
        hidden = text.hidden.take(np.arange(192))
        if dtype == "float32":
            mean, scale = hidden.mean(0), hidden.std(0) + 1e-6
            weights = np.random.default_rng(0).normal(size=(hidden.shape[1], 3)) / hidden.shape[1] ** 0.5
        values = ((hidden - mean) / scale) @ weights
        actions.append(choose(values, np.tile([0.0, 0.06, 1.0], (192, 1)), 0.1))
    rate = float((actions[0] == actions[1]).mean())
    record_property("agreement", rate)
    print(f"bfloat16 and float32 act alike on {rate:.4f} of 192 questions")
    assert len(set(actions[0].tolist())) == 3
    assert rate >= 0.97
