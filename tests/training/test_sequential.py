"""Training a policy that may look again: what it learns, from what, and that it goes on where it stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Configure
from tests.training.test_policy import LIVE, SMALL, train
from vovnet.errors import VoVNetError
from vovnet.policy.checkpoint import load_policy
from vovnet.policy.decide import PRICES, Plans, choose
from vovnet.policy.head import MEMBERS, SequentialHead
from vovnet.training.sequential import LookBatch, SequentialModule, planned_shares
from vovnet.training.steps import newest_checkpoint
from vovnet.vlm.files import find_checkpoint

SEQUENTIAL = (*SMALL, "policy=sequential")
COSTS = torch.tensor([0.0, 0.1, 1.0])


def made_up(size: int, seed: int) -> LookBatch:
    """COARSE is right for half of the questions, and only what it yields tells which; FULL always, NO never."""
    rng = torch.Generator().manual_seed(seed)
    right = torch.randint(0, 2, (size,), generator=rng).float()
    noise = torch.randn(size, 3, generator=rng)
    seen = torch.cat([noise[:, :1], (2 * right - 1)[:, None] + 0.1 * noise[:, 1:2]], dim=1)
    score = torch.stack([torch.zeros(size), right, torch.ones(size)], dim=1)
    fold = torch.randint(0, MEMBERS, (size,), generator=rng)
    return LookBatch(noise, seen[:, None], score, COSTS.expand(size, 3), fold)


def fitted(configure: Configure, batch: LookBatch, steps: int = 300) -> SequentialHead:
    """Full-batch training without Lightning."""
    config = configure("policy=sequential", root="train")
    torch.manual_seed(0)
    head = SequentialHead(batch.features.shape[1], batch.seen.shape[2], 16, 3)
    head.standardise([batch.stage(0), batch.stage(1)])
    module = SequentialModule(head, config.policy, config.menu, config.training, steps)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()
    return head


def test_it_learns_to_keep_full_in_reserve(configure: Configure) -> None:
    """At a price of 0.3 FULL at once costs 1; COARSE first, and FULL where that is wrong, costs 0.6 on average."""
    head, test = fitted(configure, made_up(400, 0)), made_up(200, 1)
    with torch.no_grad():
        outputs = [head(test.stage(stage), stage).double().numpy() for stage in range(2)]
    costs = test.cost.double().numpy()
    place, paid = Plans(outputs, costs).at(0.3)
    accuracy = test.score.numpy()[np.arange(200), place].mean()
    assert accuracy > 0.97
    assert paid.mean() == pytest.approx(0.6, abs=0.08)
    once = choose(outputs[0][:, :3], costs, 0.3)
    assert (once == 2).mean() > 0.95  # before a look nothing tells them apart


def test_a_spending_curve_is_what_the_later_stage_plans() -> None:
    """A gain of 0.4 by FULL pays up to a price of 0.4 of its cost."""
    outputs, cost = torch.tensor([[0.5, 0.9]]), COSTS[None]
    shares = planned_shares(outputs, cost, look=1)
    assert shares.shape == (1, PRICES)
    grid = (np.arange(PRICES) / PRICES) ** 2
    assert shares[0].tolist() == (grid < 0.4).astype(float).tolist()


def test_no_member_learns_from_its_own_fold(configure: Configure) -> None:
    config, batch = configure("policy=sequential", root="train"), made_up(64, 0)
    torch.manual_seed(0)
    head = SequentialHead(3, 2, 8, 3)
    for parameter in head.parameters():  # a fresh head says the same of every question
        torch.nn.init.normal_(parameter)
    module = SequentialModule(head, config.policy, config.menu, config.training, 1)  # type: ignore[arg-type]
    flipped = replace(batch, score=torch.where((batch.fold == 1)[:, None], 1 - batch.score, batch.score))
    plans = module.plans(batch)
    losses = [[module.member_loss(b, plans, member).item() for member in range(MEMBERS)] for b in (batch, flipped)]
    assert losses[0][1] == losses[1][1]
    assert all(losses[0][member] != losses[1][member] for member in (0, 2, 3))


def test_it_trains_from_the_store_and_its_file_loads(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SEQUENTIAL, root="train")
    trained = train(config, tmp_path / "a")
    head, card = load_policy(trained.path, find_checkpoint(config.backbone))
    assert card.procedure == "sequential"
    assert isinstance(head, SequentialHead)
    assert trained.computed == {"text": 60, "no": 60, "coarse": 60, "full": 60, "coarse state": 60}
    assert 0 <= trained.metrics["val/acc"] <= 1
    again = train(config, tmp_path / "b")
    assert again.path.read_bytes() == trained.path.read_bytes()
    assert set(again.computed.values()) == {0}


def test_after_a_policy_that_looks_once_only_the_states_are_collected(configure: Configure, tmp_path: Path) -> None:
    train(configure(*SMALL, root="train"), tmp_path / "once")
    computed = train(configure(*SEQUENTIAL, root="train"), tmp_path / "again").computed
    assert computed == {"text": 0, "no": 0, "coarse": 0, "full": 0, "coarse state": 60}


def test_a_stopped_training_goes_on_to_the_same_file(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SEQUENTIAL, "training.save_every=2", root="train")
    whole = train(config, tmp_path / "whole").path.read_bytes()
    original = SequentialModule.training_step

    def stops(module: Any, batch: Any, number: int) -> Any:
        if module.global_step == 5:
            raise KeyboardInterrupt
        return original(module, batch, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequentialModule, "training_step", stops)
        with pytest.raises((KeyboardInterrupt, SystemExit, VoVNetError)):
            train(config, tmp_path / "stopped")
    assert newest_checkpoint(tmp_path / "stopped/steps", "stage2") is not None
    assert train(config, tmp_path / "stopped").path.read_bytes() == whole


@pytest.mark.parametrize("override", [LIVE, ("training.stage2_backbone=lora",)])
def test_it_learns_from_stored_outcomes_only(configure: Configure, tmp_path: Path, override: tuple[str, ...]) -> None:
    """Said before stage 1."""
    given = (*SEQUENTIAL, "training.stage1_epochs=1", *override)
    with pytest.raises(VoVNetError, match="policy=sequential learns from stored outcomes only"):
        train(configure(*given, root="train"), tmp_path / "run")
    assert not (tmp_path / "run/stage1").exists()


@pytest.mark.parametrize("override", ["policy/objective=mixture", "policy.action_space=binary"])
def test_what_it_cannot_learn_is_refused(configure: Configure, override: str) -> None:
    with pytest.raises(VoVNetError, match="procedure=sequential learns scores and looks between"):
        configure("policy=sequential", override, root="train")


def test_a_menu_is_learned_with_every_look_between(configure: Configure, tmp_path: Path) -> None:
    """The states of the looks between the first and the last are collected, and one head answers after each."""
    config = configure(*SEQUENTIAL, "policy.looks=[no,{long_side:24},{long_side:48,merge:0.5},full]", root="train")
    trained = train(config, tmp_path)
    states = {name for name, rows in trained.computed.items() if name.endswith(" state") and rows}
    assert states == {"side24 state", "side48_merge50 state"}
    head, card = load_policy(trained.path, find_checkpoint(config.backbone))
    assert isinstance(head, SequentialHead)
    assert (head.actions, card.menu) == (4, config.menu)
    assert {f"val/rate_{look.label}" for look in config.menu} <= {*trained.metrics}
