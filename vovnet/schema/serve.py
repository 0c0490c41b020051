"""Keys of ``experiments.serve``."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Int, Positive, Rate


@dataclass(frozen=True, config=STRICT)
class ServeConfig:
    """Where the endpoint listens, and what a request may hold."""

    host: Annotated[str, Field(min_length=1)]  # other than this machine only with a key in the environment
    port: Annotated[Int, Field(ge=0, le=65535)]  # 0 takes a free one
    max_characters: Positive  # of a question
    max_images: Positive  # of a request
    max_image_megabytes: Rate  # of an encoded image
    max_megapixels: Rate  # of a decoded one
    max_waiting: Positive  # requests that wait for an answer; further ones are turned away
