"""What reading a checkpoint asks of any family: its processors, a digest of pictures, and what its template renders."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vovnet.vlm.chat_template import find_template, render_contents
from vovnet.vlm.generic.frames import AMONG, ORDERS, contents
from vovnet.vlm.generic.processor import load_processor


def processors(folder: Path, model_type: str) -> tuple[Any, Any]:
    """Tokenizer and image processor.

    Raises:
        VoVNetError: one is missing or damaged, or needs a package that is not installed.
    """
    processor = load_processor(folder, model_type)
    return processor.tokenizer, processor.image_processor


def pictures(image_processor: Any) -> str:
    """Digest of what the image processor makes of a fixed picture."""
    levels = np.arange(48 * 80 * 3).reshape(48, 80, 3) % 251
    made = image_processor(images=[[Image.fromarray(levels.astype(np.uint8))]], return_tensors="pt")
    digest = hashlib.sha256()
    for name in sorted(made):
        digest.update(name.encode() + torch.as_tensor(made[name]).double().numpy().tobytes())
    return digest.hexdigest()[:16]


def shown(folder: Path, tokenizer: Any) -> dict[str, list[dict[str, str]]]:
    """What the template renders of one image, two and so on with the question's stand-in, by prompt order.

    ``among`` is of two images between texts.
    """
    _, template = find_template(folder, tokenizer)
    asked = [one for order in ORDERS for one in contents(order)]
    *results, among = render_contents(folder, template, tokenizer.special_tokens_map, [*asked, AMONG])
    size = len(asked) // len(ORDERS)
    found = {"among": [among]}
    return found | {order: results[number * size : (number + 1) * size] for number, order in enumerate(ORDERS)}
