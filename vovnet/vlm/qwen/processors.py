"""A checkpoint's tokenizer and image processor."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vovnet.errors import VoVNetError, first_line


def load_processors(folder: Path) -> tuple[Any, Any]:
    """Both, from a checkpoint's folder.

    Raises:
        VoVNetError: one is missing or damaged.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        # Both families use this processor. Its PIL backend by name: torchvision's differs in the last
        # bits, and transformers' automatic choice refuses to work without torchvision in some versions.
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, ImportError, LookupError, TypeError) as error:
        raise VoVNetError(
            f"{folder} lacks a tokenizer or an image processor ({first_line(error)}); save both beside the model."
        ) from error
    return tokenizer, image_processor
