"""What makes a checkpoint's prompts, and what only counts the tokens of its images."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image

from vovnet.schema import BackboneConfig
from vovnet.vlm.configuration import model_config
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.generic.frames import bare_frames, frames_of
from vovnet.vlm.generic.processor import load_processor
from vovnet.vlm.generic.prompts import Frames, Prompter, joining_axes
from vovnet.vlm.reading import reading_of

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
