"""Floating-point operations against torch's own counter and by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForImageTextToText

from tests.conftest import rotary_flops
from vovnet.vlm.facts import generation_flops, prefill_flops, vision_flops
from vovnet.vlm.files import open_checkpoint


@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
def test_flops_equal_torchs_count(request: pytest.FixtureRequest, family: str) -> None:
    """Against torch's own counter over a text prompt; it counts full attention, so causal pairs are doubled.

    Eager attention, because torch 2.13's counter gives the fused kernel of a CPU zero operations.
    """
    folder: Path = request.getfixturevalue(family)
    config = open_checkpoint(folder).text_config
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager")
    length = 24
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.ones(1, length, dtype=torch.long), logits_to_keep=1)
    ours = float(prefill_flops(config, np.array([length]), np.array([length]))[0])
    heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
    causal = 4 * heads * head_dim * int(config["num_hidden_layers"])
    full = ours + causal * (length**2 - length * (length + 1) / 2)
    assert full == pytest.approx(counter.get_total_flops() - rotary_flops(counter), rel=1e-6)


def test_reading_in_two_parts_costs_the_same_but_for_the_output_layer() -> None:
    config = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 128, "vocab_size": 100,
    }  # fmt: skip
    whole = prefill_flops(config, np.array([30]), np.array([30]))
    parts = prefill_flops(config, np.array([10, 20]), np.array([10, 30])).sum()
    assert parts - whole[0] == 2 * 64 * 100
    assert prefill_flops(config, np.array([0]), np.array([5]))[0] == 0


def test_flops_by_hand_with_grouped_queries() -> None:
    """One layer of width 8: 4 query heads of 2 share 2 key heads; an MLP of 16, 10 words."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    config = dict(zip(names, (8, 1, 4, 2, 16), strict=True))
    weights = 8 * 8 + 2 * (8 * 4) + 8 * 8 + 3 * 8 * 16
    found = prefill_flops(config | {"vocab_size": 10}, np.array([0, 1, 3]), np.array([5, 5, 5]))
    pairs = np.array([0, 5, 3 + 4 + 5])
    assert found.tolist() == (2 * weights * np.array([0, 1, 3]) + 4 * 8 * pairs + np.array([0, 160, 160])).tolist()


@given(st.integers(1, 20), st.integers(0, 6))
def test_an_answer_is_as_many_single_tokens(prompt: int, generated: int) -> None:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    config = dict(zip(names, (8, 2, 4, 2, 16), strict=True)) | {"vocab_size": 10}
    single = [prefill_flops(config, np.array([1]), np.array([prompt + step]))[0] for step in range(1, generated)]
    assert generation_flops(config, np.array([prompt]), np.array([generated]))[0] == sum(single)


def test_a_vision_tower_s_flops_equal_torchs_count(qwen3: Path) -> None:
    """Its blocks; patch embedding and mergers are left out."""
    checkpoint = open_checkpoint(qwen3)
    model = AutoModelForImageTextToText.from_pretrained(qwen3, attn_implementation="eager")
    visual, grid = model.model.visual, torch.tensor([[1, 4, 6]])
    patches = torch.zeros(24, visual.patch_embed.proj.weight[0].numel())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        visual(patches, grid_thw=grid)
    counts = counter.get_flop_counts()
    blocks = sum(sum(c.values()) for name, c in counts.items() if name.split(".")[-2:-1] == ["blocks"])
    found = vision_flops(checkpoint.vision_config, np.array([24]))
    assert found is not None
    assert found[0] == pytest.approx(blocks, rel=1e-6)
    assert vision_flops({"model_type": "of its own"}, np.array([24])) is None
