"""Two ranks learn what one process learns from the same steps."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.train import run
from tests.commands import Ranks
from tests.conftest import Configure
from tests.training.test_stages import SMALL, weights
from vovnet import rank_launch as launch
from vovnet.errors import VoVNetError

STAGE1 = (*SMALL, "training.stage1_epochs=1", "training.backbone.lora.dropout=0", "training.max_samples=100")


@pytest.fixture(autouse=True)
def _ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that start within milliseconds; the guides' command and spread weights start them as a user does."""
    monkeypatch.setattr(launch, "subprocess", Ranks())


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("policy/objective=mixture", "training.batch_size=15"),  # ranks with unlike numbers of rows
        ("training.stage1_backbone=full", "training.backbone.train_vision=true", "training.stage2_backbone=lora"),
    ],
)
def test_ddp_over_two_processes_equals_one(configure: Configure, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    alone = run(configure(*STAGE1, *overrides, root="train"), tmp_path / "one")
    summary = run(configure(*STAGE1, *overrides, "trainer=ddp", root="train"), tmp_path / "two")
    assert isinstance(summary, dict)
    assert isinstance(alone, dict)
    assert summary["validation"] == pytest.approx(alone["validation"], rel=1e-3)
    assert summary["train_samples"] + summary["val_samples"] == 100
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for file in one:
        for name in one[file]:
            torch.testing.assert_close(one[file][name], two[file][name], rtol=1e-4, atol=1e-5, msg=f"{file} {name}")


@pytest.mark.slow
def test_ten_steps_of_two_processes_are_ten_of_one_with_twice_the_batch(configure: Configure, tmp_path: Path) -> None:
    """LoRA at the default rate, to 1e-6: what is left is float32's rounding of sums over 16 questions, or 8 and 8.

    Where a gradient is all but 0, as some are in full training, AdamW turns such bits into steps of its own size. How
    many that are depends on the processor's vectors (none with AVX2, one weight with AVX-512): at most one of 1,000
    weights may be farther off, by a twentieth of one step.
    """
    settings = (*STAGE1, "training.stage1_epochs=2", "training.epochs=1", "training.save_every=100")
    settings = (*settings, "training.backbone.learning_rate=0.0002")
    run(configure(*settings, "training.backbone.micro_batch_size=16", root="train"), tmp_path / "one")
    run(configure(*settings, "trainer=ddp", root="train"), tmp_path / "two")
    assert [p.name for p in (tmp_path / "two/stage1/steps").glob("stage1-step=*")] == ["stage1-step=000010.ckpt"]
    one, two = weights(tmp_path / "one/stage1"), weights(tmp_path / "two/stage1")
    assert one.keys() == two.keys()
    apart = []
    for file in one:
        for name in one[file]:
            apart.append((one[file][name] - two[file][name]).abs().flatten())
    assert float(torch.cat(apart).max()) <= 0.0002 / 20
    assert float((torch.cat(apart) > 1e-6).float().mean()) <= 1e-3


@pytest.mark.slow
def test_spread_weights_learn_the_same(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "subprocess", subprocess)  # not forked: a forked one has crashed once
    whole = ("training.stage1_backbone=full", "training.backbone.train_vision=true", "training.stage2_backbone=lora")
    settings = (*STAGE1, *whole, "policy/objective=mixture", "training.gradient_clip=0.1")
    run(configure(*settings, root="train"), tmp_path / "one")
    run(configure(*settings, "trainer=fsdp", root="train"), tmp_path / "two")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for file in one:
        for name in one[file]:
            # Adam turns the last bits of gradients near 0 into steps of its own size, 0.01.
            torch.testing.assert_close(one[file][name], two[file][name], rtol=1e-3, atol=5e-4, msg=f"{file} {name}")


@pytest.mark.slow
def test_a_rank_that_fails_is_said(configure: Configure, tmp_path: Path) -> None:
    config = configure(*STAGE1, "training.backbone.lora.targets=[nothing]", "trainer=ddp", root="train")
    with pytest.raises(VoVNetError, match=r"lora.targets fit no layer"):
        run(config, tmp_path / "run")


@pytest.mark.parametrize("other", ["import time; time.sleep(60)", "raise SystemExit(1)"])
def test_a_rank_that_a_signal_ends_is_said(tmp_path: Path, other: str) -> None:
    """And not the one that waited for it or lost its connection."""
    programs = [other, "import os; os.kill(os.getpid(), 11)"]
    ranks = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    launch._wait(ranks, grace=0.2)
    statuses = [rank.poll() for rank in ranks]
    for rank in ranks:
        rank.kill()
    with pytest.raises(
        VoVNetError, match=r"rank 1 of 2 was ended by signal 11 \(Segmentation fault\); the same command begins anew"
    ):
        launch._explain(statuses, tmp_path, "begins anew")


def test_several_nodes_need_a_launcher(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match="num_nodes > 1 needs launcher=slurm"):
        run(configure(*SMALL, "trainer=ddp", "trainer.num_nodes=2", root="train"), tmp_path / "run")


def test_one_device_cannot_be_two(configure: Configure) -> None:
    with pytest.raises(VoVNetError, match="strategy=single runs on one device"):
        configure("trainer.devices=2", root="train")


def test_more_ranks_than_the_machine_bears_are_refused(configure: Configure, tmp_path: Path) -> None:
    config = configure("trainer=ddp", "trainer.devices=4000", "backbone.device=cpu", root="train")
    with pytest.raises(VoVNetError, match=r"trainer.devices=4000, but this machine has \d+ processes .*; lower it"):
        launch.launch_ranks(config, tmp_path, "vovnet.training.run", "begins anew")
