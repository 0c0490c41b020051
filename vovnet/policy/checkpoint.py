"""Policy files: the head's weights, and the name of the backbone they belong to."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vovnet.errors import VoVNetError
from vovnet.files import open_file, parse_object, write_bytes
from vovnet.fingerprint import recall_text, remember_text
from vovnet.policy import FILE_NAME
from vovnet.policy.card import CARD, CHECKSUM, NEWER, PolicyCard, as_card, check_backbone
from vovnet.vlm.files import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from vovnet.policy.head import AnyHead

TORCH = (".pt", ".pth", ".ckpt")  # endings of files of torch.save


def save_policy(path: Path, head: "AnyHead", card: PolicyCard) -> None:
    """Write a policy file atomically, with a checksum over weights and card."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    described = asdict(card)
    for name, usual in NEWER.items():
        if described[name] == usual:
            del described[name]
    described[CHECKSUM] = _checksum(described, tensors)  # one entry: safetensors writes several in any order
    write_bytes(path, save(tensors, {CARD: json.dumps(described, sort_keys=True)}))


def _checksum(described: dict[str, Any], tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 over a card and the weights by name."""
    import torch

    facts = {name: value for name, value in described.items() if name != CHECKSUM}
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        found.update(tensors[name].flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def read_card(path: Path) -> PolicyCard:
    """The description in a policy file, without its weights.

    Raises:
        VoVNetError: missing, unreadable or not a policy file.
    """
    with _opened(path) as file:
        return as_card(path, _described(file))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A policy file; what is wrong with it is said in a sentence."""
    try:
        with open_file(path) as file:
            yield file
    except FileNotFoundError as error:
        advice = "give eval.checkpoint=FILE or run `python -m experiments.train`"
        if is_of_torch_save(path):
            advice = f"a file of torch.save is given by eval.ddp_checkpoint_path={path}"
        raise VoVNetError(f"policy file {path} does not exist; {advice}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if is_of_torch_save(path):
            raise VoVNetError(
                f"{path} is a file of torch.save, and eval.checkpoint wants a {FILE_NAME}; give it by "
                f"eval.ddp_checkpoint_path={path} instead."
            ) from error
        raise VoVNetError(
            f"{path} is not a policy file ({_one_line(error)}); eval.checkpoint wants a {FILE_NAME}."
        ) from error


def is_of_torch_save(path: Path) -> bool:
    """Whether a file is called, or begins, as those of ``torch.save``; it is not loaded."""
    if path.suffix in TORCH:
        return True
    if not path.is_file():
        return False
    with open_file(path) as file:
        return file.read(4) == b"PK\x03\x04"


def _described(file: IO[bytes]) -> dict[str, Any]:
    """What a policy file says of itself."""
    size = int.from_bytes(file.read(8), "little")
    if not 0 < size < 10**6:
        raise ValueError("no safetensors header")
    header = parse_object(file.read(size).decode("utf-8"))
    return parse_object(header["__metadata__"][CARD])


@dataclass(frozen=True)
class PolicyFile:
    """A policy file as it was when it was opened; torch is imported when its head is asked for."""

    path: Path
    card: PolicyCard
    content: bytes = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole file."""
        return hashlib.sha256(self.content).hexdigest()

    def head(self) -> "AnyHead":
        """The head in evaluation mode.

        Raises:
            VoVNetError: changed since it was written, or with weights of the wrong shape or not finite.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors = load(self.content)
        except SafetensorError as error:
            raise _unfit(self.path, error) from error
        head, described = make_head(self.path, self.card, tensors), _described(io.BytesIO(self.content))
        if described.get(CHECKSUM, "") not in ("", _checksum(described, tensors)):  # older files have none
            raise VoVNetError(
                f"policy file {self.path} is damaged, its checksum is wrong; copy it again or train it again."
            )
        return head


def open_policy(path: Path, checkpoint: Checkpoint, other_backbone: bool = False) -> PolicyFile:
    """A policy file for this backbone. One that was never opened before is checked as a whole.

    Args:
        other_backbone: it may be another backbone's whose hidden states are as wide.

    Raises:
        VoVNetError: unreadable, of another backbone, or as ``PolicyFile.head``.
    """
    with _opened(path) as file:
        card = as_card(path, _described(file))
        check_backbone(path, card, checkpoint, other_backbone)
        file.seek(0)
        found = PolicyFile(path, card, file.read())
    name = f"policy head {found.digest}"
    if recall_text(name) is None:
        found.head()
        remember_text(name, "sound")
    return found


def load_policy(path: Path, checkpoint: Checkpoint) -> tuple["AnyHead", PolicyCard]:
    """The head in evaluation mode, and its card.

    Raises:
        VoVNetError: as ``open_policy``.
    """
    found = open_policy(path, checkpoint)
    return found.head(), found.card


def make_head(path: Path, card: PolicyCard, tensors: "Mapping[str, Tensor]") -> "AnyHead":
    """The head that a card describes, with these weights, in evaluation mode.

    Raises:
        VoVNetError: weights of the wrong shape or not finite.
    """
    import torch

    from vovnet.policy.head import PolicyHead, SequentialHead

    if odd := next((name for name, tensor in tensors.items() if not tensor.is_floating_point()), None):
        raise _unfit(path, TypeError(f"{odd} is of {tensors[odd].dtype}"))
    bounded = card.objective == "value" if card.bounded is None else card.bounded
    actions, again = len(card.menu), card.procedure == "sequential"

    def make() -> "AnyHead":
        if again:
            return SequentialHead(card.width, card.width + 1, card.hidden_size, actions)
        return PolicyHead(card.width, card.hidden_size, actions, bounded)

    try:
        with torch.device("meta"):  # sizes that no memory holds are compared, not allocated
            make().load_state_dict(tensors, assign=True)
        head = make()
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise _unfit(path, error) from error
    if not all(bool(torch.isfinite(t.float()).all()) for t in tensors.values()):
        raise VoVNetError(f"policy file {path} holds NaN or infinite weights; train it again.")
    return head.eval().requires_grad_(False)


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]


def _unfit(path: Path, error: Exception) -> VoVNetError:
    said = _one_line(error)
    return VoVNetError(f"the weights in policy file {path} do not fit its own description ({said}); train it again.")
