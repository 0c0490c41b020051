"""From a request's body to a question: everything that cannot be honoured is refused, and nothing is fetched."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from vovnet.data.pixels import NoImageError, shown, shown_size
from vovnet.schema import NonNegative, ServeConfig
from vovnet.terminal import counted

MEGA = 10**6
USUAL = 512  # characters of a question of usual length


class RefusedError(Exception):
    """A request that gets no answer: one sentence for its sender.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Strict(BaseModel):
    """A part of a body, in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageUrl(Strict):
    """Where an image is; ``detail`` would take the decision from the policy."""

    url: str
    detail: Literal["auto"] = "auto"


class ImagePart(Strict):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class TextPart(Strict):
    """A text of a message."""

    type: Literal["text"]
    text: str


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Strict):
    """The user's turn."""

    role: Literal["user"]
    content: Annotated[list[Part], BeforeValidator(_parts)]
    name: str | None = None


class StreamOptions(Strict):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class Body(Strict):
    """A chat completion as it is asked for; fields that must not change an answer may have one value only."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    # Of this server.
    lambda_cost: NonNegative | None = None
    options: Annotated[list[str], Field(max_length=26)] = []
    # Without effect on a greedy answer.
    n: Literal[1] | None = None
    temperature: Annotated[float, Field(ge=0, le=0)] | None = None
    top_p: float | None = None
    seed: int | None = None
    logprobs: Literal[False] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None

    @field_validator("messages")
    @classmethod
    def _one_turn(cls, messages: list[Message]) -> list[Message]:
        if len(messages) > 1:
            raise ValueError("a request holds one message of the user; put earlier turns into its text")
        return messages


@dataclass(frozen=True)
class Question:
    """What is to be answered.

    Attributes:
        images: encoded.
        pixels: of all images.
        lambda_cost: asked for; None takes the server's.
        max_tokens: of the answer.
        with_usage: a stream ends with a chunk of token counts.
    """

    text: str
    images: tuple[bytes, ...]
    pixels: int
    options: tuple[str, ...]
    lambda_cost: float | None
    max_tokens: int
    stream: bool = False
    with_usage: bool = False

    @property
    def weight(self) -> int:
        """How many usual questions take as much memory."""
        return max(1, len(self.images)) + len(self.text) // USUAL

    @property
    def alike(self) -> tuple[int, bool]:
        """Questions are answered together where this is equal."""
        return self.max_tokens, bool(self.images)


def body_of(content: bytes, model: str) -> Body:
    """The parsed body of a request to a model.

    Raises:
        RefusedError: it is no JSON, has a field that is unknown or that is not honoured, or is to another model.
    """
    try:
        body = Body.model_validate_json(content)
    except ValidationError as error:
        raise RefusedError(_sentence(error)) from error
    if body.model not in (None, model):
        raise RefusedError(f"there is no model {body.model[:80]!r} here; ask for {model}.", 404)
    return body


def question_of(body: Body, limits: ServeConfig, most_tokens: int) -> Question:
    """The question of a body; of its images, the headers are read.

    Raises:
        RefusedError: there is no text, or an image that is too large or not in the request itself.
    """
    (message,) = body.messages
    text = "\n".join(part.text for part in message.content if isinstance(part, TextPart))
    urls = [part.image_url.url for part in message.content if isinstance(part, ImagePart)]
    if not text.strip():
        raise RefusedError("the message holds no text; ask a question.")
    if (long := len(text) + sum(map(len, body.options))) > limits.max_characters:
        raise RefusedError(f"the question has {long} characters; send at most {limits.max_characters}.")
    if len(urls) > limits.max_images:
        raise RefusedError(f"the message holds {counted(len(urls), 'image')}; send at most {limits.max_images}.")
    images = [_image(number, url, limits) for number, url in enumerate(urls, 1)]
    asked = [tokens for tokens in (body.max_tokens, body.max_completion_tokens) if tokens is not None]
    return Question(
        text=text,
        images=tuple(content for content, _ in images),
        pixels=sum(pixels for _, pixels in images),
        options=tuple(body.options),
        lambda_cost=body.lambda_cost,
        max_tokens=min([most_tokens, *asked]),
        stream=body.stream,
        with_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def check_images(question: Question) -> None:
    """Decode each image once, before others share a batch with it.

    Raises:
        RefusedError: one is broken.
    """
    for number, content in enumerate(question.images, 1):
        with _refused(number):
            shown(content)


@contextmanager
def _refused(number: int) -> Iterator[None]:
    """Say which image could not be read."""
    try:
        yield
    except NoImageError as error:
        raise RefusedError(f"image {number} {error}; send another one.") from error


def most_bytes(limits: ServeConfig) -> int:
    """Of a request's body: its images in base64, and a megabyte of text."""
    return int(limits.max_images * limits.max_image_megabytes * MEGA * 4 / 3) + MEGA


def _image(number: int, url: str, limits: ServeConfig) -> tuple[bytes, int]:
    """The encoded image of a URL, and its pixels."""
    head, _, data = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        raise RefusedError(
            f"image {number} is no data:image/…;base64 URL; send its bytes, since nothing is fetched from elsewhere."
        )
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RefusedError(f"image {number} is no base64 ({error}); encode it again.") from error
    if len(content) > limits.max_image_megabytes * MEGA:
        raise RefusedError(f"image {number} is larger than {limits.max_image_megabytes:g} MB; send a smaller one.")
    with _refused(number):
        width, height = shown_size(content)  # from the header: a huge image is not decoded
    if width * height > limits.max_megapixels * MEGA:
        most = f"{limits.max_megapixels:g} megapixels"
        raise RefusedError(f"image {number} has {width} x {height} pixels, more than {most}; send a smaller one.")
    return content, width * height


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong with a body."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"the field {field[:80]} is not supported; leave it out."
    return f"{field or 'the body'}: {first['msg'].removeprefix('Value error, ')}."
