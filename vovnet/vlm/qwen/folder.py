"""What config.json of Qwen's families must say, and what it says of images; imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.errors import VoVNetError
from vovnet.files import read_object
from vovnet.vlm.weights import check_deepstack, check_depth, stored_tensors

if TYPE_CHECKING:
    from vovnet.vlm.files import Checkpoint

IMAGE_TOKENS = ("image_token_id", "vision_start_token_id", "vision_end_token_id")
REQUIRED = ("vision_config", *IMAGE_TOKENS)


def check_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that lacks what the fast path reads, or contradicts the weights.

    Raises:
        VoVNetError: it does.
    """
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise VoVNetError(f"{folder}/config.json lacks {missing[0]}; save the model again with save_pretrained.")
    if not isinstance(config["vision_config"], dict) or not isinstance(config["vision_config"].get("patch_size"), int):
        raise VoVNetError(f"{folder}/config.json has no vision_config.patch_size; save the model again.")
    check_depth(folder, config, stored_tensors(folder))
    check_deepstack(folder, config["vision_config"])


def sides(checkpoint: "Checkpoint") -> tuple[int, int]:
    """Side of a vision patch in pixels, and patches merged into one token, per axis."""
    vision = checkpoint.config["vision_config"]
    return int(vision["patch_size"]), int(vision.get("spatial_merge_size", 2))


def most_pixels(folder: Path) -> int | None:
    """Pixels to which the checkpoint's own image processor shrinks a larger image; None where it does not say.

    Raises:
        VoVNetError: its file is damaged.
    """
    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            content = read_object(folder / name)
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise VoVNetError(f"{folder / name} is not valid JSON ({error}); save the processor again.") from error
        options = content.get("image_processor", content)
        size = options.get("size") or {}
        found = size.get("longest_edge") or options.get("max_pixels")
        if isinstance(found, int):
            return found
    return None
