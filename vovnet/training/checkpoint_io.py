"""Training checkpoints as files: whole or not there, and refused where a bit is wrong.

Lightning's own way writes into the system's temporary folder and moves the file: a copy, where that is another disk.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from vovnet.errors import VoVNetError, first_line
from vovnet.files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint's place and renames."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; what stood at ``path`` stays if that fails."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        atomic_write(Path(path), lambda temporary: temporary.write_bytes(content.getbuffer()))


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Names, shapes and types of the weights in a checkpoint; its checksums are verified.

    Raises:
        VoVNetError: it is no checkpoint, is damaged, or holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as content:
            if (damaged := content.testzip()) is not None:
                raise EOFError(f"the checksum of {damaged} is wrong")
        state: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="meta")["state_dict"]
    except (OSError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = first_line(error)
        raise VoVNetError(
            f"{path} cannot be read ({reason}); remove it, and the same command goes on from the one before, or begins "
            "the stage anew."
        ) from error
    return state
