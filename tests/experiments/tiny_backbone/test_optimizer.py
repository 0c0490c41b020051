"""Muon and the joining of optimisers, against torch's own."""

from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.tiny_backbone.optimizer import Joint, Muon, make_optimizer, orthogonal
from experiments.tiny_backbone.recipe import Recipe, load_recipe


def test_muon_equals_torchs_up_to_its_bfloat16() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(24, 48))
    theirs = nn.Parameter(ours.detach().clone())
    one = Muon([ours], lr=0.01, weight_decay=0.1)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        ours.grad = torch.randn(24, 48)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    assert (ours - theirs).norm() / theirs.norm() < 1e-3


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8)])
def test_orthogonal_keeps_directions_and_evens_their_sizes(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3


def recipe(optimizer: str) -> Recipe:
    return load_recipe([f"optimizer={optimizer}"])


def test_joint_steps_every_parameter_and_resumes(tmp_path: Path) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))
        return model, make_optimizer(model, recipe("muon"))

    def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        model(torch.randn(4, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = make()
    assert isinstance(optimizer, Joint)
    before = [p.detach().clone() for p in model.parameters()]
    step(model, optimizer, 3)
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state")
    step(model, optimizer, 4)

    resumed, again = make()
    state = torch.load(tmp_path / "state", weights_only=True)
    resumed.load_state_dict(state["model"])
    again.load_state_dict(state["optimizer"])
    step(resumed, again, 4)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_adamw_alone_is_adamw() -> None:
    assert type(make_optimizer(nn.Linear(3, 3), recipe("adamw"))) is torch.optim.AdamW
