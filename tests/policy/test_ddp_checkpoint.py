"""Policies in files of torch.save: the same decisions as from a policy file, and no code of theirs is ever run."""

import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Configure, compose_config
from tests.policy.test_route import policy_file
from vovnet.errors import VoVNetError
from vovnet.policy.card import PolicyCard
from vovnet.policy.checkpoint import load_policy
from vovnet.policy.ddp_checkpoint import load_ddp_policy, save_ddp_policy
from vovnet.policy.head import PolicyHead
from vovnet.results.evaluate import evaluate
from vovnet.schema import RunConfig
from vovnet.vlm.files import Checkpoint, find_checkpoint

Loader = Callable[..., tuple[PolicyHead, PolicyCard]]


@pytest.fixture
def config(configure: Configure) -> RunConfig:
    return configure()


@pytest.fixture
def here(config: RunConfig) -> Checkpoint:
    return find_checkpoint(config.backbone)


@pytest.fixture
def policy(config: RunConfig, here: Checkpoint, tmp_path: Path) -> tuple[PolicyHead, PolicyCard]:
    return load_policy(policy_file(config, tmp_path / "policy.safetensors"), here)


@pytest.fixture
def load(config: RunConfig, here: Checkpoint, tmp_path: Path) -> Loader:
    """Load what a file with this content holds."""

    def loaded(content: Any, config: RunConfig = config) -> tuple[PolicyHead, PolicyCard]:
        path = tmp_path / "checkpoint-100.pt"
        torch.save(content, path)
        return load_ddp_policy(path, config, here)

    return loaded


def test_a_plain_checkpoint_decides_as_its_policy_file(
    configure: Configure, policy: tuple[PolicyHead, PolicyCard], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint-20.pt"
    save_ddp_policy(path, *policy)
    rows = []
    for key, file in (("checkpoint", tmp_path / "policy.safetensors"), ("ddp_checkpoint_path", path)):
        found = evaluate(configure(f"eval.{key}={file}", "eval.max_samples=24"), tmp_path / key)
        rows.append(found.routed.actions)
        assert found.row.checkpoint == str(file)
    assert np.array_equal(*rows)
    assert len(set(rows[0].tolist())) > 1


def test_names_of_ddp_and_lightning_are_understood(
    policy: tuple[PolicyHead, PolicyCard], load: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    head, card = policy
    state = head.state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    lightning = {"state_dict": {f"head.{name}": tensor for name, tensor in state.items()}, "epoch": 3}
    for content, told in (
        ({"policy": state, "card": asdict(card)}, True),
        ({"policy": wrapped, "card": asdict(card)}, True),
        ({"policy": wrapped}, False),
        (lightning, False),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found, described = load(content)
        assert ("does not say its backbone" in caplog.text) is not told
        assert described == (card if told else replace(card, dataset="unknown", data_config="null", training_config=""))
        for name, tensor in found.state_dict().items():
            assert torch.equal(tensor, state[name])


def test_the_leak_guard_says_that_it_could_not_look(
    configure: Configure, policy: tuple[PolicyHead, PolicyCard], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save({"policy": policy[0].state_dict()}, tmp_path / "checkpoint-1.pt")
    given = (f"eval.ddp_checkpoint_path={tmp_path / 'checkpoint-1.pt'}", "eval.max_samples=8")
    evaluate(configure(*given), tmp_path / "run")
    assert "does not say what it was trained on" in caplog.text


class Toucher:
    """What a pickle could do when it is read without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_is_refused_and_not_run(config: RunConfig, here: Checkpoint, tmp_path: Path) -> None:
    path, trace = tmp_path / "checkpoint-1.pt", tmp_path / "was run"
    torch.save({"policy": Toucher(trace)}, path)
    with pytest.raises(VoVNetError, match=r"holds objects besides tensors .* not loaded; write it with torch\.save"):
        load_ddp_policy(path, config, here)
    path.write_bytes(pickle.dumps({"policy": Toucher(trace)}))
    with pytest.raises(VoVNetError, match=r"is damaged or no file of torch\.save"):
        load_ddp_policy(path, config, here)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"PK\x05\x06" + b"\0" * 18])
def test_other_files_are_refused(config: RunConfig, here: Checkpoint, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint-1.pt"
    path.write_bytes(content)
    with pytest.raises(VoVNetError, match="is damaged"):
        load_ddp_policy(path, config, here)


def test_a_cut_file_is_refused(
    policy: tuple[PolicyHead, PolicyCard], config: RunConfig, here: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint-1.pt"
    save_ddp_policy(path, *policy)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(VoVNetError, match="is damaged"):
        load_ddp_policy(path, config, here)


def test_a_missing_file_and_a_folder_are_named(config: RunConfig, here: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"eval\.ddp_checkpoint_path=.*none\.pt does not exist"):
        load_ddp_policy(tmp_path / "none.pt", config, here)
    with pytest.raises(VoVNetError, match="is a folder; give one of its checkpoint"):
        load_ddp_policy(tmp_path, config, here)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "holds a list, no dictionary"),
        ({"model": {}, "step": 3}, r"holds no policy \(its keys: model, step\)"),
        ({"policy": {"mean": [1.0]}}, "holds no policy"),
        ({"policy": {"weight": torch.zeros(2)}}, r"no policy head's weights \(mean, hidden\.weight\)"),
        ({"state_dict": {"head.mean": torch.zeros(2), "lm.weight": torch.zeros(2)}}, r"not a policy head's alone .*lm"),
        ({"state_dict": {}}, "nothing at all"),
    ],
)
def test_what_is_no_policy_is_told(load: Loader, content: Any, sentence: str) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        load(content)


def test_a_card_that_does_not_fit_is_told(policy: tuple[PolicyHead, PolicyCard], load: Loader) -> None:
    head, card = policy
    state, described = head.state_dict(), asdict(card)
    with pytest.raises(VoVNetError, match=r"belongs to backbone .*train a policy for this backbone"):
        load({"policy": state, "card": described | {"fingerprint": "0" * 64}})
    with pytest.raises(VoVNetError, match=r"was trained with backbone\.prompt_order=image_first"):
        load({"policy": state, "card": described | {"prompt_order": "image_first"}})
    with pytest.raises(VoVNetError, match="has format 1"):
        load({"policy": state, "card": described | {"format": 1}})
    for other in ({"format": card.format}, described | {"more": 1}, "card"):
        with pytest.raises(VoVNetError, match="is no policy's"):
            load({"policy": state, "card": other})


def test_weights_that_do_not_fit_are_told(
    policy: tuple[PolicyHead, PolicyCard], load: Loader, configure: Configure
) -> None:
    head, card = policy
    state = head.state_dict()
    with pytest.raises(VoVNetError, match=r"do not fit its own description .*size mismatch for hidden\.weight"):
        load({"policy": state, "card": asdict(card) | {"hidden_size": 8}}, configure("policy.hidden_size=8"))
    with pytest.raises(VoVNetError, match="do not fit"):
        load({"policy": {name: t for name, t in state.items() if name != "scale"}})
    with pytest.raises(VoVNetError, match=r"reads 50 features, this backbone and policy\.feature_mode=hidden give 48"):
        load({"policy": state}, configure("policy.feature_mode=hidden"))
    with pytest.raises(VoVNetError, match=r"set policy\.hidden_size=256"):
        load({"policy": state}, configure("policy.hidden_size=8"))
    with pytest.raises(VoVNetError, match="do not fit"):
        load({"policy": state}, configure("policy.action_space=binary"))
    with pytest.raises(VoVNetError, match="NaN or infinite"):
        load({"policy": state | {"output.bias": torch.full((3,), torch.nan)}, "card": asdict(card)})


def test_two_policies_at_once_are_refused() -> None:
    with pytest.raises(VoVNetError, match="checkpoint and ddp_checkpoint_path exclude each other"):
        compose_config("eval.checkpoint=a", "eval.ddp_checkpoint_path=b")


@pytest.mark.parametrize("name", ["checkpoint-100.pt", "last.ckpt", "policy.safetensors"])
def test_a_file_of_torch_save_in_the_other_key_names_its_own(configure: Configure, tmp_path: Path, name: str) -> None:
    """Told by its name where it is not there, and by its beginning whatever it is called."""
    path = tmp_path / name
    for _ in range(2):
        if path.exists() or path.suffix != ".safetensors":
            with pytest.raises(VoVNetError) as caught:
                evaluate(configure(f"eval.checkpoint={path}"), tmp_path / "run")
            assert f"eval.ddp_checkpoint_path={path}" in str(caught.value)
        torch.save({"policy": {}}, path)


def test_a_folder_of_them_names_one(configure: Configure, tmp_path: Path) -> None:
    torch.save({"policy": {}}, tmp_path / "checkpoint-100.pt")
    with pytest.raises(VoVNetError, match=r"give one by eval\.ddp_checkpoint_path=.*/checkpoint-100\.pt"):
        evaluate(configure(f"eval.checkpoint={tmp_path}"), tmp_path / "run")


def test_a_policy_file_in_the_other_key_names_its_own(configure: Configure, tmp_path: Path) -> None:
    path = policy_file(configure(), tmp_path / "policy.safetensors")
    with pytest.raises(VoVNetError, match=r"give a policy file by eval\.checkpoint="):
        evaluate(configure(f"eval.ddp_checkpoint_path={path}"), tmp_path / "run")
