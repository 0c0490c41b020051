"""Policy files: the head's weights, and the name of the backbone they belong to."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.backbone.files import Checkpoint
from vovnet.errors import VoVNetError
from vovnet.files import atomic_write
from vovnet.schema import ActionSpace, FeatureMode, PolicyConfig

if TYPE_CHECKING:
    from vovnet.policy.head import PolicyHead

FORMAT = 1
FILE_NAME = "policy.safetensors"


@dataclass(frozen=True)
class PolicyCard:
    """What stands in a policy file beside the weights.

    Attributes:
        backbone: name of the backbone, for people.
        fingerprint: of the backbone's files; the head reads that backbone's hidden states and no other's.
        lambda_cost: the lambda of training; None when the objective knows none.
        seed: of the training.
    """

    backbone: str
    fingerprint: str
    feature_mode: FeatureMode
    action_space: ActionSpace
    objective: str
    hidden_size: int
    width: int
    lambda_cost: float | None
    straight_through: bool | None
    seed: int
    dataset: str
    format: int = FORMAT


def save_policy(path: Path, head: "PolicyHead", card: PolicyCard) -> None:
    """Write a policy file atomically."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    metadata = {"vovnet": json.dumps(asdict(card), sort_keys=True)}
    atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def read_card(path: Path) -> PolicyCard:
    """The description in a policy file, without its weights.

    Raises:
        VoVNetError: missing, unreadable or not a policy file.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size < 10**6:
                raise ValueError("no safetensors header")
            header = json.loads(file.read(size))
        described: dict[str, Any] = json.loads(header["__metadata__"]["vovnet"])
        if described.get("format") != FORMAT:
            raise VoVNetError(
                f"policy file {path} has format {described.get('format')}, this version reads {FORMAT}; train it again."
            )
        return PolicyCard(**described)
    except FileNotFoundError as error:
        raise VoVNetError(
            f"policy file {path} does not exist; give eval.checkpoint=FILE or run `python -m experiments.train`."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VoVNetError(f"{path} is not a policy file ({error}); eval.checkpoint wants a {FILE_NAME}.") from error


def load_policy(path: Path, checkpoint: Checkpoint) -> tuple["PolicyHead", PolicyCard]:
    """The head in evaluation mode.

    Raises:
        VoVNetError: unreadable, of another backbone, or with weights of the wrong shape or not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from vovnet.actions import ACTION_SPACES
    from vovnet.policy.head import PolicyHead

    card = read_card(path)
    check_backbone(path, card, checkpoint)
    head = PolicyHead(card.width, card.hidden_size, len(ACTION_SPACES[card.action_space]), card.objective == "value")
    try:
        tensors = load_file(path)
        head.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise VoVNetError(
            f"the weights in policy file {path} do not fit its own description "
            f"({str(error).splitlines()[0]}); train it again."
        ) from error
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
        raise VoVNetError(f"policy file {path} holds NaN or infinite weights; train it again.")
    return head.eval().requires_grad_(False), card


def check_backbone(path: Path, card: PolicyCard, checkpoint: Checkpoint) -> None:
    """Refuse a head that was trained on another backbone's hidden states."""
    if card.fingerprint != checkpoint.fingerprint:
        raise VoVNetError(
            f"policy file {path} belongs to backbone {card.backbone} (fingerprint {card.fingerprint[:12]}), but the "
            f"backbone in use has fingerprint {checkpoint.fingerprint[:12]}; train a policy for this backbone "
            "or choose the backbone it belongs to."
        )


def find_policy(config: PolicyConfig, given: str | None, runs: Path, checkpoint: Checkpoint) -> Path:
    """The policy file to use: the given one, or the newest fitting one under ``runs``/train.

    Raises:
        VoVNetError: none fits, or the given one differs from the configuration.
    """
    if given is not None:
        path = Path(given).expanduser()
        path = path / FILE_NAME if path.is_dir() else path
        card = read_card(path)
        check_backbone(path, card, checkpoint)
        for key in ("feature_mode", "action_space"):
            if getattr(card, key) != getattr(config, key):
                raise VoVNetError(
                    f"policy file {path} was trained with policy.{key}={getattr(card, key)}, the configuration says "
                    f"{getattr(config, key)}; set policy.{key}={getattr(card, key)}."
                )
        return path
    found = []
    for path in (runs / "train").glob(f"*/{FILE_NAME}"):
        card = read_card(path)
        if (card.fingerprint, card.feature_mode, card.action_space, card.objective) == (
            checkpoint.fingerprint,
            config.feature_mode,
            config.action_space,
            config.objective.name,
        ):
            found.append(path)
    if not found:
        raise VoVNetError(
            f"no trained policy under {runs / 'train'} fits this backbone, objective={config.objective.name}, "
            f"feature_mode={config.feature_mode} and action_space={config.action_space}; "
            "run `python -m experiments.train` with the same overrides, or give eval.checkpoint=FILE."
        )
    return max(found, key=lambda path: (path.stat().st_mtime_ns, str(path)))
