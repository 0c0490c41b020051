"""Two stages: what is trained, what is left behind, and going on after a stop."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Configure
from vovnet.actions import Action
from vovnet.data import item, load_dataset
from vovnet.errors import VoVNetError
from vovnet.policy.checkpoint import load_policy
from vovnet.schema import RunConfig
from vovnet.training import stages, steps
from vovnet.training.policy import Trained
from vovnet.training.report import training_checks, write_training
from vovnet.training.stages import claim, train_policy, wait_for_claim
from vovnet.training.trainer import Plan
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.loading import load_backbone

SMALL = (
    "training.max_samples=60",
    "training.epochs=2",
    "training.batch_size=16",
    "training.backbone.batch_size=16",
    "training.backbone.micro_batch_size=8",
    "training.backbone.learning_rate=0.01",
    "training.save_every=1",
)
STAGE1 = (*SMALL, "training.stage1_epochs=1")


def train(config: RunConfig, folder: Path) -> Trained:
    trained = train_policy(config, config.training, folder)
    write_training(config, trained, folder, 0.0)
    return trained


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {str(path.relative_to(folder)): load_file(path) for path in sorted(folder.rglob("*.safetensors"))}


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[f][k], b[f][k]) for f in a for k in a[f])


@pytest.mark.parametrize(
    ("overrides", "changed", "kept"),
    [
        (("training.stage1_backbone=lora",), "q_proj", "embed_tokens"),
        (("training.stage1_backbone=full",), "embed_tokens", "visual"),
        (("training.stage1_backbone=full", "training.backbone.train_vision=true"), "visual", "nothing"),
        (("training.backbone.train_vision=true", "training.backbone.lora.targets=[qkv]"), "visual", "language_model"),
    ],
)  # fmt: skip
def test_stage_1_changes_what_it_is_told_to(
    configure: Configure, tmp_path: Path, overrides: tuple[str, ...], changed: str, kept: str
) -> None:
    config = configure(*STAGE1, *overrides, root="train")
    trained = train(config, tmp_path / "run")
    before = load_backbone(config.backbone, config.vision_budget).state_dict()
    after = load_backbone(trained.backbone, config.vision_budget).state_dict()
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert any(changed in name for name in moved)
    assert not any(kept in name for name in moved)
    _, card = load_policy(trained.path, find_checkpoint(trained.backbone))
    assert card.fingerprint != find_checkpoint(config.backbone).fingerprint


def test_stage_1_lowers_the_loss_of_its_action(configure: Configure, tmp_path: Path) -> None:
    config = configure(*STAGE1, "training.stage1_epochs=4", "training.stage1_baseline_name=always_coarse", root="train")
    trained = train(config, tmp_path / "run")
    dataset = load_dataset(config.dataset, "train")
    items = [item(dataset, i) for i in range(30)]
    nll = {}
    for name, backbone in {"before": config.backbone, "after": trained.backbone}.items():
        loaded = load_backbone(backbone, config.vision_budget)
        with torch.inference_mode():
            nll[name] = float(loaded.training_nll(loaded.builder.build(items, [Action.COARSE]), Action.COARSE).mean())
    assert nll["after"] < nll["before"] - 1.0


def test_a_policy_of_an_adapted_backbone_is_refused_without_it(configure: Configure, tmp_path: Path) -> None:
    config = configure(*STAGE1, root="train")
    trained = train(config, tmp_path / "run")
    with pytest.raises(VoVNetError, match="stage1/backbone"):
        load_policy(trained.path, find_checkpoint(config.backbone))


def test_both_learn_in_a_live_stage_2(configure: Configure, tmp_path: Path) -> None:
    config = configure(*SMALL, "training.stage2_backbone=lora", "policy/objective=mixture", root="train")
    trained = train(config, tmp_path / "run")
    adapter = load_file(tmp_path / "run/backbone/adapter_model.safetensors")
    assert any(float(tensor.abs().max()) > 0 for name, tensor in adapter.items() if "lora_B" in name)
    head, _ = load_policy(trained.path, find_checkpoint(trained.backbone))
    assert float(head.output.weight.abs().max()) > 0


@pytest.mark.parametrize("objective", ["value", "mixture"])
def test_stage_2_goes_on_from_stage_1s_adapter(configure: Configure, tmp_path: Path, objective: str) -> None:
    settings = ("training.stage2_backbone=lora", f"policy/objective={objective}", "training.epochs=1")
    trained = train(configure(*STAGE1, *settings, root="train"), tmp_path / "run")
    one = load_file(tmp_path / "run/stage1/backbone/adapter_model.safetensors")
    two = load_file(tmp_path / "run/backbone/adapter_model.safetensors")
    assert one.keys() == two.keys()
    assert trained.backbone.adapter == str(tmp_path / "run/backbone")


def test_checkpoints_hold_trained_weights_only(configure: Configure, tmp_path: Path) -> None:
    train(configure(*STAGE1, root="train"), tmp_path / "run")
    saved = sorted(path.name for path in (tmp_path / "run").rglob("*.ckpt"))
    assert [name.partition("=")[0] for name in saved] == [
        "stage1-best-step", "stage1-step", "stage2-best-step", "stage2-step",
    ]  # fmt: skip
    content = torch.load(next((tmp_path / "run/stage1/steps").glob("stage1-step*")), weights_only=True)
    assert all("lora_" in name for name in content["state_dict"])


def test_every_stage_must_be_saved_as_planned(configure: Configure, tmp_path: Path) -> None:
    config = configure(*STAGE1, "training.save_every=2", root="train")
    trained = train(config, tmp_path)

    def checks() -> list[tuple[bool, str]]:
        found = training_checks(config, trained, tmp_path)[:2]
        assert [check.name.partition(":")[0] for check in found] == ["stage1", "stage2"]
        return [(check.passed, check.observed) for check in found]

    steps = trained.plan.steps
    assert checks()[0][0]
    assert checks()[1] == (True, f"saved at 2 4 6 stage2-step={steps:06d}.ckpt")
    longer = replace(trained, plan=replace(trained.plan, steps=steps + 2))
    (check,) = training_checks(config, longer, tmp_path)[1:2]
    assert not check.passed
    often = replace(trained, plan=replace(trained.plan, save_every=1))
    assert [check.passed for check in training_checks(config, often, tmp_path)[:2]] == [True, False]
    for stage, place in enumerate(("stage1/steps", "steps")):
        (newest,) = (tmp_path / place).glob("stage?-step=*.ckpt")
        newest.rename(tmp_path / "aside")
        assert [passed for passed, _ in checks()] == [stage != 0, stage != 1]  # the other's is no help
        (tmp_path / "aside").rename(newest)


class Stopped(Exception):  # noqa: N818
    """Stands for a kill."""


class StopAt(L.Callback):
    """Ends the process's work after a number of batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def on_train_batch_end(self, *args: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped


HEAD = ("policy/objective=mixture", "training.backbone.lora.dropout=0.2", "training.save_every=2")
BOTH = ("training.stage2_backbone=lora", "policy/objective=mixture", "training.backbone.lora.dropout=0.2")


@pytest.mark.parametrize(("overrides", "stop"), [(HEAD, 1), (HEAD, 4), (HEAD, 7), (BOTH, 4), (BOTH, 7)])
def test_a_stopped_training_goes_on_to_the_same_weights(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], stop: int
) -> None:
    config = configure(*STAGE1, *overrides, root="train")
    train(config, tmp_path / "calm")
    real, stopper = steps.StepLog, StopAt(stop)
    monkeypatch.setattr(steps, "StepLog", lambda plan: stopper)
    with pytest.raises(Stopped):
        train(config, tmp_path / "stopped")
    monkeypatch.setattr(steps, "StepLog", real)
    train(config, tmp_path / "stopped")
    assert same(tmp_path / "calm", tmp_path / "stopped")
    checks = [json.loads((tmp_path / name / "summary.json").read_text())["checks"] for name in ("calm", "stopped")]
    assert checks[0] == checks[1]  # saved as often, too


def test_another_configurations_stopped_training_is_refused(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(steps, "StepLog", lambda plan: StopAt(1))
        with pytest.raises(Stopped):
            train(configure(*STAGE1, root="train"), tmp_path / "run")
    files = sorted((tmp_path / "run").rglob("*.ckpt"))
    other = configure(*STAGE1, "training.backbone.lora.rank=4", root="train")
    with pytest.raises(VoVNetError, match=r"stopped training with training.backbone.lora.rank=16, this one has 4"):
        train(other, tmp_path / "run")
    assert sorted((tmp_path / "run").rglob("*.ckpt")) == files


def test_a_second_training_waits_for_the_first_ones_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = stages.alone(tmp_path), stages.alone(tmp_path)
    ended: list[str] = []

    def later() -> None:
        with second:
            ended.append("second")

    with first:
        thread = threading.Thread(target=later)
        thread.start()
        thread.join(0.5)
        ended.append("first")
    thread.join(10)
    assert ended == ["first", "second"]
    assert "another process trains in" in caplog.text


def test_other_ranks_wait_until_rank_0_has_cleared_the_folder(configure: Configure, tmp_path: Path) -> None:
    """A rank that looked earlier would take a finished stage for its own, and skip what the others do together."""
    config, other = configure(*SMALL, root="train"), configure(*SMALL, "training.epochs=3", root="train")
    dataset = load_dataset(config.dataset, "train")
    claim(tmp_path, other, dataset)
    (tmp_path / "stage1/backbone").mkdir(parents=True)
    (tmp_path / "summary.json").write_text("{}")  # finished
    seen: list[bool] = []

    def rank_1() -> None:
        wait_for_claim(tmp_path, config, dataset)
        seen.append((tmp_path / "stage1").exists())

    waiting = threading.Thread(target=rank_1, daemon=True)
    waiting.start()
    time.sleep(0.2)
    assert waiting.is_alive()
    claim(tmp_path, config, dataset)
    waiting.join(30)
    assert seen == [False]


def test_the_last_step_is_saved_by_all_ranks_or_by_none(tmp_path: Path) -> None:
    """Rank 1 may look when rank 0 has written the file already; saving ends in a barrier that both must reach."""
    plan = Plan("stage2", 10, 5, 5, 1.0, 0)
    (tmp_path / "stage2-step=000010.ckpt").touch()
    saved: list[Path] = []
    strategy = SimpleNamespace(broadcast=lambda mine: None)  # rank 0 had found nothing
    trainer = SimpleNamespace(strategy=strategy, save_checkpoint=saved.append, is_global_zero=False)
    steps._save_end(trainer, tmp_path, plan)
    assert [path.name for path in saved] == ["stage2-step=000010.ckpt"]


def test_clearing_a_finished_training_survives_a_kill(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(configure(*SMALL, root="train"), tmp_path / "run")
    with monkeypatch.context() as killed:
        killed.setattr(stages, "write_json", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            train(configure(*SMALL, "training.seed=5", root="train"), tmp_path / "run")
    train(configure(*SMALL, "training.seed=5", root="train"), tmp_path / "run")


def test_a_finished_training_gives_way_to_another(configure: Configure, tmp_path: Path) -> None:
    train(configure(*SMALL, root="train"), tmp_path / "run")
    (tmp_path / "run/log-after-stage2-step=000001").mkdir()  # where the first one had gone on
    train(configure(*SMALL, "training.seed=5", root="train"), tmp_path / "run")
    assert not list((tmp_path / "run").glob("log-after-*"))
    train(configure(*SMALL, "training.seed=5", root="train"), tmp_path / "fresh")
    assert same(tmp_path / "run", tmp_path / "fresh")


def test_a_checkpoint_that_is_no_checkpoint_is_refused(configure: Configure, tmp_path: Path) -> None:
    config = configure(*STAGE1, root="train")
    folder = tmp_path / "run/stage1/steps"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {}, "surprise": Path()}, folder / "stage1-step=000001.ckpt")
    with pytest.raises(VoVNetError, match=r"stage1-step=000001.ckpt cannot be read .*remove it"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("training.backbone.lora.targets=[no_such]",), "lora.targets fit no layer"),
        (("trainer=fsdp",), "trainer.devices=2 on trainer.num_nodes=1 needs 2 processes"),
    ],
)
def test_what_cannot_run_is_said(
    configure: Configure, tmp_path: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        train(configure(*STAGE1, *overrides, root="train"), tmp_path / "run")


def test_an_adapter_of_another_backbone_is_refused(configure: Configure, tmp_path: Path, qwen25: Path) -> None:
    train(configure(*STAGE1, root="train"), tmp_path / "run")
    adapter = tmp_path / "run/stage1/backbone"
    with pytest.raises(VoVNetError, match="were trained on a backbone with fingerprint"):
        find_checkpoint(configure(f"backbone.adapter={adapter}", f"backbone.path={qwen25}").backbone)
    with pytest.raises(VoVNetError, match="holds no LoRA weights"):
        find_checkpoint(configure(f"backbone.adapter={tmp_path}").backbone)
    (adapter / "trained_on.json").unlink()
    (adapter / "adapter_model.safetensors").write_bytes(b"nothing")
    config = configure(f"backbone.adapter={adapter}")
    with pytest.raises(VoVNetError, match="cannot be loaded"):
        load_backbone(config.backbone, config.vision_budget)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*STAGE1, root="train")
    saves = iter([None, None, None])

    def save(self: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if next(saves, "full") == "full":
            raise OSError(28, "No space left on device")
        real(self, *args, **kwargs)

    real = L.Trainer.save_checkpoint
    monkeypatch.setattr(L.Trainer, "save_checkpoint", save)
    with pytest.raises(VoVNetError, match=r"cannot be written under .*No space left on device"):
        train(config, tmp_path / "run")
    monkeypatch.setattr(L.Trainer, "save_checkpoint", real)
    train(config, tmp_path / "run")
    train(config, tmp_path / "calm")
    assert same(tmp_path / "calm", tmp_path / "run")


def test_gradient_checkpointing_changes_no_weight(configure: Configure, tmp_path: Path) -> None:
    train(configure(*STAGE1, root="train"), tmp_path / "plain")
    config = configure(*STAGE1, "training.backbone.gradient_checkpointing=true", root="train")
    train(config, tmp_path / "saving")
    one, other = (weights(tmp_path / n)["stage1/backbone/adapter_model.safetensors"] for n in ("plain", "saving"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)
    with pytest.raises(VoVNetError, match="gradient_checkpointing drops the cache"):
        configure("training.backbone.gradient_checkpointing=true", "training.stage2_backbone=lora", root="train")


def test_micro_batches_change_no_weight(configure: Configure, tmp_path: Path) -> None:
    settings = (*STAGE1, "training.backbone.lora.dropout=0")
    train(configure(*settings, root="train"), tmp_path / "two")
    train(configure(*settings, "training.backbone.micro_batch_size=16", root="train"), tmp_path / "one")
    one, two = (weights(tmp_path / n)["stage1/backbone/adapter_model.safetensors"] for n in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_lambda_warms_up(configure: Configure) -> None:
    from vovnet.policy.head import PolicyHead
    from vovnet.training.module import VoVNetModule

    config = configure("training.lambda_warmup_fraction=0.5", "policy.lambda_cost=0.4", root="train")
    module = VoVNetModule(PolicyHead(4, 4, 3, False), config.policy, config.menu, config.training, steps=100)  # type: ignore[arg-type]
    assert module.warm_lambda() == 0.0
    module.trainer = type("At", (), {"global_step": 25})()  # type: ignore[assignment]
    assert module.warm_lambda() == pytest.approx(0.2)
    module.trainer = type("At", (), {"global_step": 80})()  # type: ignore[assignment]
    assert module.warm_lambda() == pytest.approx(0.4)


@pytest.mark.parametrize("logger", ["tensorboard"])
def test_metrics_go_to_other_loggers_too(configure: Configure, tmp_path: Path, logger: str) -> None:
    train(configure(*SMALL, f"logger={logger}", root="train"), tmp_path / "run")
    assert list((tmp_path / "run/log").glob("events.out.tfevents*"))
    assert (tmp_path / "run/log/metrics.csv").is_file()
    assert (tmp_path / "run/curves.png").stat().st_size > 5000
