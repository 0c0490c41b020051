"""Policy files name their backbone and refuse others."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import Configure
from vovnet.actions import ACTION_SPACES
from vovnet.errors import VoVNetError
from vovnet.policy.card import PolicyCard, make_card
from vovnet.policy.checkpoint import load_policy, read_card, save_policy
from vovnet.policy.features import feature_width
from vovnet.policy.find import find_policy
from vovnet.policy.head import PolicyHead
from vovnet.vlm.files import Checkpoint, find_checkpoint

CARD = PolicyCard(
    "tiny", "f" * 64, "hidden", "ternary", "value", 8, 4, None, None, 0, "easy_vqa",
    "d" * 64, "{}", "text_first", (16, 256), (64, 4096), "float32", ("{question}",),
)  # fmt: skip
HERE = Checkpoint(Path("/nowhere"), "f" * 64, {})


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    save_policy(path, PolicyHead(4, 8, 3, bounded=True), CARD)
    return path


def test_round_trip(policy_file: Path) -> None:
    head, card = load_policy(policy_file, HERE)
    assert card == CARD
    assert not head.training
    assert not any(p.requires_grad for p in head.parameters())


def test_it_holds_the_head_only(policy_file: Path) -> None:
    assert policy_file.stat().st_size < 4096


def test_the_same_policy_is_the_same_bytes(policy_file: Path) -> None:
    """safetensors 0.8 writes several entries of metadata in any order: there is one."""
    with safe_open(policy_file, "pt") as file:
        assert list(file.metadata()) == ["vovnet"]
    head, _ = load_policy(policy_file, HERE)
    before = policy_file.read_bytes()
    for _ in range(8):
        save_policy(policy_file, head, CARD)
        assert policy_file.read_bytes() == before


def test_another_backbone_is_refused(policy_file: Path) -> None:
    with pytest.raises(VoVNetError, match=r"belongs to backbone tiny .*ffffffffffff.*has fingerprint 000000000000"):
        load_policy(policy_file, dataclasses.replace(HERE, fingerprint="0" * 64))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"does not exist; give eval.checkpoint=FILE or run"):
        read_card(tmp_path / "none.safetensors")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.safetensors")
    with pytest.raises(VoVNetError, match=r"is not a policy file \(it is a named pipe and no file\)"):
        read_card(tmp_path / "policy.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"x" * 100, b"\x02\0\0\0\0\0\0\0{}"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(content)
    with pytest.raises(VoVNetError, match="is not a policy file"):
        load_policy(path, HERE)


def test_truncated_weights_are_refused(policy_file: Path) -> None:
    policy_file.write_bytes(policy_file.read_bytes()[:-20])
    with pytest.raises(VoVNetError, match="do not fit its own description"):
        load_policy(policy_file, HERE)


def test_weights_of_another_shape_are_refused(policy_file: Path) -> None:
    save_policy(policy_file, PolicyHead(4, 9, 3, bounded=True), CARD)
    with pytest.raises(VoVNetError, match="do not fit"):
        load_policy(policy_file, HERE)


def test_nan_weights_are_refused(policy_file: Path) -> None:
    head = PolicyHead(4, 8, 3, bounded=True)
    head.output.bias.data[0] = torch.nan
    save_policy(policy_file, head, CARD)
    with pytest.raises(VoVNetError, match="NaN or infinite"):
        load_policy(policy_file, HERE)


@pytest.mark.parametrize("place", [-1, -30, -290])
def test_a_flipped_bit_is_noticed(policy_file: Path, place: int) -> None:
    content = bytearray(policy_file.read_bytes())
    content[place] ^= 1
    policy_file.write_bytes(content)
    with pytest.raises(VoVNetError, match=r"policy.safetensors is damaged, its checksum is wrong|NaN or infinite"):
        load_policy(policy_file, HERE)


def test_a_card_that_was_changed_is_noticed(policy_file: Path) -> None:
    content = policy_file.read_bytes()
    policy_file.write_bytes(content.replace(b'\\"dataset\\": \\"easy_vqa', b'\\"dataset\\": \\"easy_vqb'))
    assert policy_file.read_bytes() != content
    with pytest.raises(VoVNetError, match="its checksum is wrong"):
        load_policy(policy_file, HERE)


def test_a_file_from_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    tensors = PolicyHead(4, 8, 3, bounded=True).state_dict()
    save_file(tensors, tmp_path / "policy.safetensors", metadata={"vovnet": json.dumps(dataclasses.asdict(CARD))})
    assert load_policy(tmp_path / "policy.safetensors", HERE)[1] == CARD


def test_complex_weights_are_refused(tmp_path: Path) -> None:
    tensors = PolicyHead(4, 8, 3, bounded=True).state_dict()
    tensors["mean"] = tensors["mean"].to(torch.complex64)
    save_file(tensors, tmp_path / "policy.safetensors", metadata={"vovnet": json.dumps(dataclasses.asdict(CARD))})
    with pytest.raises(VoVNetError, match=r"do not fit .*mean is of torch.complex64"):
        load_policy(tmp_path / "policy.safetensors", HERE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_heads_of_other_precisions_are_read(tmp_path: Path, dtype: torch.dtype) -> None:
    head = PolicyHead(4, 8, 3, bounded=True).to(dtype)
    save_policy(tmp_path / "policy.safetensors", head, CARD)
    assert load_policy(tmp_path / "policy.safetensors", HERE)[0].hidden.weight.dtype == torch.float32


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(VoVNetError, match="is not a policy file"):
        read_card(path)


@pytest.mark.parametrize(
    "described",
    ["[1]", "5", '"x"', "null", "{}", '{"format": 2}', '{"format": 9}', "[" * 5000]
    + [json.dumps(dataclasses.asdict(CARD) | change) for change in (
        {"width": "four"}, {"hidden_size": None}, {"coarse": [16]}, {"coarse": 5}, {"action_space": "all"},
        {"feature_mode": "none"}, {"extra": 1}, {"lambda_cost": "x"}, {"prompts": [1]},
        {"width": -1}, {"hidden_size": 0}, {"width": 10**13}, {"objective": "guess"}, {"prompt_order": "last"},
        {"dtype": "int8"}, {"full_pruning_ratio": 2}, {"full": [64, -1]}, {"lambda_cost": -1}, {"seed": -1},
    )],
)  # fmt: skip
def test_cards_that_are_none(tmp_path: Path, described: str) -> None:
    path = tmp_path / "policy.safetensors"
    save_file({"mean": torch.zeros(4)}, path, metadata={"vovnet": described})
    with pytest.raises(VoVNetError, match=r"policy.safetensors (is not a policy file|has format)") as caught:
        load_policy(path, HERE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"width": 10**9}, {"hidden_size": 10**9}])
def test_sizes_that_no_memory_holds_are_compared_not_allocated(policy_file: Path, change: dict) -> None:
    head = PolicyHead(4, 8, 3, bounded=True)
    save_policy(policy_file, head, dataclasses.replace(CARD, **change))
    with pytest.raises(VoVNetError, match="do not fit its own description"):
        load_policy(policy_file, HERE)


def test_a_policy_file_names_its_training_whatever_the_seed(configure: Configure) -> None:
    def card(*overrides: str, data: str = "data") -> PolicyCard:
        return make_card(configure(*overrides), find_checkpoint(configure().backbone), 4, data)

    usual = card().training
    assert card("training.seed=7", "training.save_every=9", "policy.lambda_cost=0.3").training == usual
    assert card("training.val_fraction=0.2").training != usual
    assert card(data="other data").training != usual
    assert card("policy.objective.entropy_weight=0.5").training == usual  # which `value` does not know
    mixture = "policy/objective=mixture"
    assert card(mixture).training != card(mixture, "policy.objective.entropy_weight=0.5").training
    assert dataclasses.replace(card(), training_config="").training is None


def test_a_policy_that_read_otherwise_is_used_with_a_warning(
    configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = find_checkpoint(configure().backbone)
    trained, path = configure("backbone.chat_template=none"), tmp_path / "policy.safetensors"
    width = feature_width(trained.policy.feature_mode, int(checkpoint.text_config["hidden_size"]))
    card = make_card(trained, checkpoint, width)

    def warnings(card: PolicyCard, *overrides: str) -> list[str]:
        save_policy(path, PolicyHead(width, trained.policy.hidden_size, 3, bounded=True), card)
        caplog.clear()
        find_policy(configure(f"eval.checkpoint={path}", *overrides), checkpoint)
        return [record.getMessage() for record in caplog.records if "was trained with" in record.getMessage()]

    assert warnings(card, "backbone.chat_template=none") == []
    (said,) = warnings(card)
    assert "another text around the question (backbone.chat_template" in said
    (said,) = warnings(dataclasses.replace(make_card(configure(), checkpoint, width), pictures="0" * 16))
    assert "versions of Pillow" in said
    assert warnings(dataclasses.replace(card, chat_template="", tokenizer="", pictures="")) == []  # of an older version


def test_the_soft_mixtures_policy_is_not_taken_for_the_straight_through_ones(
    configure: Configure, tmp_path: Path
) -> None:
    checkpoint = find_checkpoint(configure().backbone)
    config = configure("policy/objective=mixture", f"paths.runs={tmp_path}")
    width = feature_width(config.policy.feature_mode, int(checkpoint.text_config["hidden_size"]))
    head = PolicyHead(width, config.policy.hidden_size, 3, bounded=False)
    save_policy(tmp_path / "train/policy.safetensors", head, make_card(config, checkpoint, width))
    assert find_policy(config, checkpoint) == tmp_path / "train/policy.safetensors"
    soft = configure("policy/objective=mixture", "policy.use_straight_through=false", f"paths.runs={tmp_path}")
    with pytest.raises(VoVNetError, match=r"was trained with policy\.use_straight_through=True"):
        find_policy(soft, checkpoint)


def test_a_file_of_a_usual_menu_says_nothing_of_looks(policy_file: Path) -> None:
    """As files did before there were others."""
    assert b"looks" not in policy_file.read_bytes()
    assert read_card(policy_file).menu == ACTION_SPACES["ternary"]


@pytest.mark.parametrize(
    ("override", "space"),
    [
        ("policy.action_space=ladder", "ladder"),
        ("policy.looks=[no,{long_side:32,merge:0.75},full]", "no-side32_merge75-full"),
    ],
)
def test_a_menu_is_in_the_file_and_must_be_the_configurations(
    configure: Configure, tmp_path: Path, override: str, space: str
) -> None:
    config = configure(override)
    checkpoint, path = find_checkpoint(config.backbone), tmp_path / "own.safetensors"
    card = make_card(config, checkpoint, 4)
    save_policy(path, PolicyHead(4, config.policy.hidden_size, len(config.menu), bounded=True), card)
    head, found = load_policy(path, checkpoint)
    assert (found.menu, found.space) == (config.menu, space)
    assert found == card
    assert head.output.out_features == len(config.menu)
    assert find_policy(configure(override, f"eval.checkpoint={path}"), checkpoint) == path
    with pytest.raises(
        VoVNetError, match=r"was trained with policy\.(action_space=ladder|looks=\[no, \{long_side: 32)"
    ):
        find_policy(configure(f"eval.checkpoint={path}"), checkpoint)
