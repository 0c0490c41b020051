"""From a checkpoint folder of any family to a ``GenericVLM``."""

from typing import Any

IMAGE_IDS = ("image_token_id", "image_token_index", "media_placeholder_token_id")


def image_ids(config: Any, processor: Any) -> frozenset[int]:
    """Token ids that stand for image features."""
    found = [getattr(source, name, None) for source in (config, processor) for name in IMAGE_IDS]
    return frozenset(one for one in found if isinstance(one, int))
