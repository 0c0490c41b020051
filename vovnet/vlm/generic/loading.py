"""From a checkpoint folder of any family to a ``GenericVLM``."""

from dataclasses import replace
from typing import Any

from vovnet.vlm.generic.budget import CountedBudget
from vovnet.vlm.generic.builder import GenericBuilder
from vovnet.vlm.generic.frames import bare_frames, chat_frames
from vovnet.vlm.generic.prompts import Prompter

IMAGE_IDS = ("image_token_id", "image_token_index", "media_placeholder_token_id")


def image_ids(config: Any, processor: Any) -> frozenset[int]:
    """Token ids that stand for image features."""
    found = [getattr(source, name, None) for source in (config, processor) for name in IMAGE_IDS]
    return frozenset(one for one in found if isinstance(one, int))
