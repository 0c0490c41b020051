"""Policies in the files that training loops write with ``torch.save``: ``checkpoint-*.pt`` and Lightning's ``.ckpt``.

``{"policy": head.state_dict(), "card": asdict(card)}`` says everything that a policy file says. Without a card, and
in a Lightning checkpoint (``state_dict`` with ``head.*``), the configuration in use stands for what is not said.
Only tensors and plain values are read (``weights_only=True``); a pickle that holds objects is refused, never run.
"""

import io
import logging
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.errors import VoVNetError, first_line
from vovnet.files import open_file, write_bytes
from vovnet.policy.card import UNKNOWN, PolicyCard, as_card, check_backbone, make_card
from vovnet.policy.checkpoint import make_head
from vovnet.policy.features import feature_width
from vovnet.policy.find import check_configuration, warn_of_differences
from vovnet.schema import RunConfig
from vovnet.vlm.files import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from vovnet.policy.head import AnyHead

log = logging.getLogger(__name__)

CONTENT = 'torch.save({"policy": head.state_dict(), "card": asdict(card)}, FILE)'
MAX_BYTES = 2**31  # of an archive once unpacked; a head has a few megabytes
WRAPPED = "module."  # what DistributedDataParallel puts before every name
HEAD = "head."  # the head's place in the LightningModule


def save_ddp_policy(path: Path, head: "AnyHead", card: PolicyCard) -> None:
    """Write a head and its card as a plain checkpoint."""
    import torch

    tensors = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    content = io.BytesIO()
    torch.save({"policy": tensors, "card": asdict(card)}, content)
    write_bytes(path, content.getvalue())


def load_ddp_policy(path: Path, config: RunConfig, checkpoint: Checkpoint) -> tuple["AnyHead", PolicyCard]:
    """The head in evaluation mode, and its card.

    Raises:
        VoVNetError: missing, with objects in it, without a policy, of another backbone or configuration, or with
            weights of the wrong shape or not finite.
    """
    content = _read(path)
    tensors = _head_tensors(path, content)
    described = content.get("card")
    wanted = make_card(config, checkpoint, width=0)
    if described is None:
        card = _assumed_card(path, tensors, config, checkpoint, wanted)
    else:
        try:
            card = as_card(path, described)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            said = " ".join(str(error).split())[:200]
            raise VoVNetError(f"the card in {path} is no policy's ({said}); write it with {CONTENT}.") from error
        check_backbone(path, card, checkpoint)
    check_configuration(path, card, wanted)
    warn_of_differences(path, card, wanted)
    return make_head(path, card, tensors), card


def _read(path: Path) -> dict[str, Any]:
    """The file's dictionary, without running anything that it holds."""
    import torch

    if path.is_dir():
        raise VoVNetError(f"eval.ddp_checkpoint_path={path} is a folder; give one of its checkpoint-*.pt files.")
    if not path.exists():
        raise VoVNetError(f"eval.ddp_checkpoint_path={path} does not exist; give a checkpoint-*.pt file.")
    try:
        open_file(path).close()
    except OSError as error:
        raise VoVNetError(f"eval.ddp_checkpoint_path={path} cannot be read ({error.strerror}).") from error
    if path.suffix == ".safetensors":
        raise VoVNetError(f"{path} is no file of torch.save; give a policy file by eval.checkpoint={path} instead.")
    if not _is_archive(path):  # what torch.save writes; a bare pickle is not even opened
        raise VoVNetError(f"{path} is damaged or no file of torch.save; write it with {CONTENT}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VoVNetError(
            f"{path} holds objects besides tensors and plain values, which could run code and are not loaded; "
            f"write it with {CONTENT}."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        said = first_line(error)
        raise VoVNetError(f"{path} is damaged ({said[:120]}); write it with {CONTENT}.") from error
    if not isinstance(content, dict):
        raise VoVNetError(f"{path} holds a {type(content).__name__}, no dictionary; write it with {CONTENT}.")
    return content


def _is_archive(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False
    if sum(member.file_size for member in inside) > MAX_BYTES:
        raise VoVNetError(
            f"{path} unpacks to more than {MAX_BYTES >> 30} GB, far more than a policy; write it with {CONTENT}."
        )
    return any(member.filename.endswith("data.pkl") for member in inside)


def _head_tensors(path: Path, content: Mapping[str, Any]) -> "dict[str, Tensor]":
    """The head's weights under the head's own names."""
    import torch

    found = content.get("policy", content.get("state_dict"))
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        known = ", ".join(sorted(map(str, content))[:8]) or "nothing"
        raise VoVNetError(f"{path} holds no policy (its keys: {known}); write it with {CONTENT}.")
    named = {str(name).removeprefix(WRAPPED): tensor for name, tensor in found.items()}
    if "policy" in content:
        return {name.removeprefix(HEAD): tensor for name, tensor in named.items()}
    others = sorted(name for name in named if not name.startswith(HEAD))
    if others or not named:
        first = others[0] if others else "nothing at all"
        raise VoVNetError(
            f"the state_dict in {path} is not a policy head's alone (it holds {first}); a head fits only the backbone "
            f"that it was trained with: give that training's policy.safetensors, or write the head with {CONTENT}."
        )
    return {name.removeprefix(HEAD): tensor for name, tensor in named.items()}


def _assumed_card(
    path: Path, tensors: "Mapping[str, Tensor]", config: RunConfig, checkpoint: Checkpoint, wanted: PolicyCard
) -> PolicyCard:
    """The configuration's card, for a file without one; refuses what is seen to differ."""
    width = feature_width(config.policy.feature_mode, int(checkpoint.text_config["hidden_size"]))
    if "mean" not in tensors or "hidden.weight" not in tensors:
        raise VoVNetError(f"{path} holds no policy head's weights (mean, hidden.weight); write it with {CONTENT}.")
    units, seen = tensors["hidden.weight"].shape[0], tensors["mean"].shape[-1]
    if seen != width:
        raise VoVNetError(
            f"the policy in {path} reads {seen} features, this backbone and policy.feature_mode="
            f"{config.policy.feature_mode} give {width}; set the backbone and feature_mode it was trained with."
        )
    log.warning("%s does not say its backbone, data or settings: taken to be those of this configuration", path)
    return replace(
        wanted,
        width=width,
        hidden_size=units,
        dataset=UNKNOWN,
        data_config="null",
        lambda_cost=None,
        training_config="",
    )
