"""Keys of a backbone that a server runs."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Count, Place, Positive, Rate


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ServedModel:
    """Where an OpenAI-compatible server is and what it runs; ``base_url`` is null for a model that is loaded here."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None  # as in http://127.0.0.1:8000/v1
    model: str | None = None  # as the server calls it
    processor: Place | None = None  # the model's folder or hub id; its processor sizes and counts images
    concurrency: Positive = 16  # requests at once
    retries: Count = 6  # of a request, after 0.5 s, 1 s, 2 s …
    timeout: Rate = 120.0  # seconds of a request
