"""What reading a checkpoint asks of any family: its processors, a digest of pictures, and what makes its prompts."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vovnet.schema import BackboneConfig
from vovnet.vlm.chat_template import find_template, render_contents
from vovnet.vlm.configuration import model_config
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.generic.frames import AMONG, ORDERS, bare_frames, contents, frames_of
from vovnet.vlm.generic.processor import load_processor
from vovnet.vlm.generic.prompts import Frames, Prompter, joining_axes
from vovnet.vlm.reading import reading_of


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


IMAGE_IDS = ("image_token_id", "image_token_index", "media_placeholder_token_id")


def prompter_of(config: BackboneConfig, checkpoint: Checkpoint) -> Prompter:
    """What makes prompts: spliced where that is what the processor makes."""
    reading = reading_of(config, checkpoint)
    found = _prompter(checkpoint, partial(frames_of, reading, config.prompt_order, checkpoint.folder))
    blank = Image.new("RGB", (48, 40))
    extra = found.whole("What is it?", [blank], {}).extra
    found = replace(
        found,
        types=tuple(name for name, said in extra.items() if said.ndim == 1),
        axes=joining_axes(found.processor.image_processor, {}),
    )
    return replace(found, spliced=found.splices_exactly(blank, {}))


def counting_prompter(checkpoint: Checkpoint) -> Prompter:
    """What counts an image's tokens, whatever the text around it."""
    return _prompter(checkpoint, None)


def _prompter(checkpoint: Checkpoint, frames: Callable[[Any], Frames] | None) -> Prompter:
    processor = load_processor(checkpoint.folder, checkpoint.model_type)
    config = checkpoint.config
    vision = config.get("vision_config") or {}
    side = vision.get("patch_size", 14)
    side = side if isinstance(side, int) else side[0]
    states = (vision.get("image_size", 0) // side) ** 2 + 1 if isinstance(vision.get("image_size"), int) else 0
    settings = model_config(checkpoint.folder, config, "sdpa")
    ids = [getattr(source, name, None) for source in (settings, processor) for name in IMAGE_IDS]
    return Prompter(
        processor=processor,
        frames=bare_frames(processor, "image_first") if frames is None else frames(processor),
        image_ids=tuple(dict.fromkeys(one for one in ids if isinstance(one, int))),
        patch=side,
        tile_states=states,
    )
