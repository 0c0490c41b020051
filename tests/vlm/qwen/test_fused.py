"""Fewer calls yield what transformers' own modules yield, and train as they do."""

import copy
from pathlib import Path

import pytest
import torch

from tests.conftest import compose_config
from tests.vlm.conftest import GREEDY, Load, build
from vovnet.actions import VISUAL_ACTIONS
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.qwen import fused
from vovnet.vlm.qwen.loading import load_model
from vovnet.vlm.qwen.model import Backbone

Pair = tuple[Backbone, Backbone]


@pytest.fixture(params=["qwen3", "qwen25"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A backbone, and one that is transformers' own model with sdpa."""
    folder: Path = request.getfixturevalue(request.param)
    config = compose_config(f"backbone.path={folder}")
    ours, plain = (load_backbone(config.backbone, config.vision_budget) for _ in range(2))
    plain.model = load_model(config.backbone, find_checkpoint(config.backbone)).requires_grad_(False)
    assert not isinstance(plain.model.model.language_model.norm, fused.Norm)
    return ours, plain


@pytest.fixture(params=[(), ("cpu",)])
def norms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms spelled out, and in one call as on a GPU."""
    monkeypatch.setattr(fused, "ONE_KERNEL", request.param)


@pytest.mark.usefixtures("norms")
def test_prompts_and_answers_are_what_transformers_modules_yield(pair: Pair, items: list) -> None:
    found = []
    for backbone in pair:
        batch = build(backbone, items)
        with torch.inference_mode():
            text = backbone.text_pass(batch)
            looks = [backbone.look(batch, action, text) for action in VISUAL_ACTIONS]
            nll = [backbone.nll(prefill, batch.references) for prefill in (text, *looks)]
            said = [backbone.decode(text, GREEDY, batch, action) for action in VISUAL_ACTIONS]
        found.append(([text.hidden, *(look.logits for look in looks), *nll], [a.text for one in said for a in one]))
    (ours, said), (plain, said_by_plain) = found
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
    assert said == said_by_plain


@pytest.mark.usefixtures("norms")
def test_gradients_are_what_transformers_modules_yield(pair: Pair, items: list) -> None:
    gradients = []
    for backbone in pair:
        backbone.model.requires_grad_(True)
        backbone.training_nll(build(backbone, items[:6]), VISUAL_ACTIONS[-1]).sum().backward()
        gradients.append({name: part.grad for name, part in backbone.model.named_parameters()})
    ours, plain = gradients
    assert ours.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4)


def test_half_precision_stays_within_its_rounding(pair: Pair, items: list, norms: None) -> None:
    """Of both kinds of modules, ours is the nearer one to float32 or as near."""
    distances = []
    for backbone in pair:
        batch = build(backbone, items)
        with torch.inference_mode():
            exact = backbone.look(batch, VISUAL_ACTIONS[-1], None).logits
            backbone.model.to(torch.bfloat16)
            distances.append((backbone.look(batch, VISUAL_ACTIONS[-1], None).logits - exact).norm() / exact.norm())
    ours, plain = distances
    assert ours < 1.25 * plain < 0.1


ROPES = {
    "default": {},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    "dynamic": {"factor": 2.0},
}


@pytest.mark.parametrize("family", ["qwen3", "qwen25"])
@pytest.mark.parametrize("rope", ROPES)
def test_angles_are_what_transformers_modules_yield(family: str, rope: str, request: pytest.FixtureRequest) -> None:
    config = compose_config(f"backbone.path={request.getfixturevalue(family)}").backbone
    plain = load_model(config, find_checkpoint(config)).model.language_model.rotary_emb
    plain.config.rope_parameters = {**plain.config.rope_parameters, "rope_type": rope, **ROPES[rope]}
    plain.config.max_position_embeddings = 64
    plain = type(plain)(plain.config)
    ours = copy.deepcopy(plain)
    fused._let(ours, fused.TextRotary)
    positions = torch.randint(0, 200, (3, 2, 5))  # beyond what frequencies were made for
    (cos, sin), (own_cos, own_sin) = (rotary(torch.zeros(1), positions) for rotary in (ours, plain))
    assert torch.equal(cos, own_cos)
    assert torch.equal(sin, own_sin)
    fused._let(ours, fused.SignedRotary)
    _, sin = ours(torch.zeros(1), positions)
    half = sin.shape[-1] // 2
    assert torch.equal(torch.cat([-sin[..., :half], sin[..., half:]], dim=-1), own_sin)
    assert (plain.attention_scaling != 1.0) == (rope == "yarn")


def test_parts_keep_parameters_and_kind(pair: Pair) -> None:
    ours, plain = (backbone.model for backbone in pair)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    assert [type(part).__name__ for part in ours.modules()] == [type(part).__name__ for part in plain.modules()]
    for part, own in zip(ours.modules(), plain.modules(), strict=True):
        assert isinstance(part, type(own))


def test_eager_is_transformers_own(qwen3: Path) -> None:
    config = compose_config(f"backbone.path={qwen3}", "backbone.attn_implementation=eager")
    model = load_backbone(config.backbone, config.vision_budget).model
    kinds = (fused.Norm, fused.PatchEmbedding, fused.SignedRotary, fused.TextAttention, fused.ImageAttention)
    assert not any(isinstance(part, kinds) for part in model.modules())


def test_images_are_not_attended_to_by_what_knows_no_bounds(load: Load, items: list) -> None:
    backbone = load()
    backbone.model.model.visual.config._attn_implementation = "sdpa"
    with pytest.raises(RuntimeError, match="attention sdpa would see all images of a batch as one"):
        backbone.look(build(backbone, items), VISUAL_ACTIONS[0], None)
