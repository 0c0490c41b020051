"""The endpoint itself: HTTP in, HTTP out."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from vovnet.api.router import Reply
from vovnet.errors import VoVNetError
from vovnet.schema import ServeConfig
from vovnet.serve.asked import Question, RefusedError, body_of, check_images, most_bytes, question_of
from vovnet.serve.batches import Batches, FullError
from vovnet.serve.engine import Engine

SMALL, FEW = 2**20, 2**17  # bytes and pixels of a request that a thread would take longer to get than to work on
P = ParamSpec("P")
T = TypeVar("T")
GONE = 499  # nobody reads it: the client has closed the connection


@dataclass(frozen=True)
class Endpoint:
    """What the handlers share.

    Attributes:
        model: its name.
        key: that a request must bear; None asks for none.
        most_tokens: of an answer.
    """

    engine: Engine
    batches: Batches[Question, Reply]
    limits: ServeConfig
    model: str
    key: str | None
    most_tokens: int

    def admit(self, request: Request) -> None:
        """Let a request in.

        Raises:
            RefusedError: it bears another key than the server's.
        """
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key is not None and not secrets.compare_digest(given.encode(), self.key.encode()):
            raise RefusedError("the key is missing or wrong; send `Authorization: Bearer KEY`.", 401)

    async def body(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            RefusedError: it is no JSON by its header, which keeps web pages from sending it, or it is too large.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError("the body is no JSON; send it with `Content-Type: application/json`.", 415)
        most, content = most_bytes(self.limits), bytearray()
        async for piece in request.stream():
            content += piece
            if len(content) > most:
                raise RefusedError(f"the request is larger than {most >> 20} MB; send fewer or smaller images.", 413)
        return bytes(content)

    async def complete(self, request: Request) -> Response:
        """Answer a request for a chat completion.

        Raises:
            RefusedError: it cannot be answered.
        """
        self.admit(request)
        content = await self.body(request)
        body = body_of(content, self.model)
        question = await _apart(len(content) > SMALL, question_of, body, self.limits, self.most_tokens)
        await _apart(question.pixels > FEW, check_images, question)
        price = self.engine.lambda_of(question)
        try:
            reply = await unless_gone(self.batches.submit(question), request)
        except FullError as error:
            raise RefusedError("too many requests wait for an answer; try again in a moment.", 503) from error
        except VoVNetError as error:
            raise RefusedError(str(error)) from error
        if reply is None:
            return Response(status_code=GONE)
        said = Completion(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), self.model, question, reply, price)
        if question.stream:
            return StreamingResponse(said.chunks(), media_type="text/event-stream")
        return JSONResponse(said.whole())


async def _apart(heavy: bool, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Do heavy work in a thread, so that other requests do not wait for it."""
    return await asyncio.to_thread(work, *given, **named) if heavy else work(*given, **named)


async def unless_gone(future: "Future[Reply]", request: Request) -> Reply | None:
    """A reply; None where the client closes the connection before, after which the question is dropped."""
    answered = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(request.receive())  # the body has been read: what comes next is the end
    try:
        futures: set[asyncio.Future[Any]] = {answered, gone}
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        return await answered if answered.done() else None
    finally:
        gone.cancel()
        answered.cancel()


@dataclass(frozen=True)
class Completion:
    """A reply as OpenAI's interface words it."""

    id: str
    created: int
    model: str
    question: Question
    reply: Reply
    lambda_cost: float

    def whole(self) -> dict[str, Any]:
        """As one object."""
        choice = {"index": 0, "message": {"role": "assistant", "content": self.reply.answer}}
        choices = [choice | {"logprobs": None, "finish_reason": self._end}]
        return self._head("chat.completion") | {"choices": choices, "usage": self._usage, "vovnet": self._routing}

    def chunks(self) -> Iterator[str]:
        """As server-sent events: the answer, the end with what it took, and the tokens where they are asked for."""
        head = self._head("chat.completion.chunk")
        usage: dict[str, Any] = {"usage": None} if self.question.with_usage else {}
        answer = {"role": "assistant", "content": self.reply.answer}
        for delta, end, more in ((answer, None, {}), ({}, self._end, {"vovnet": self._routing})):
            yield _event(head | usage | {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} | more)
        if self.question.with_usage:
            yield _event(head | {"choices": [], "usage": self._usage})
        yield "data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    @property
    def _end(self) -> str:
        return "length" if self.reply.generated_tokens >= self.question.max_tokens else "stop"

    @property
    def _usage(self) -> dict[str, int]:
        read, said = self.reply.prompt_tokens, self.reply.generated_tokens
        return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}

    @property
    def _routing(self) -> dict[str, Any]:
        """What the policy did; fewer tokens than none are saved where a question was looked at twice."""
        reply = self.reply
        return {
            "action": reply.look,
            "cost": reply.cost,
            "vision_tokens": reply.vision_tokens,
            "saved_tokens": reply.full_tokens - reply.vision_tokens,
            "lambda_cost": self.lambda_cost,
        }


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _failed(status: int, sentence: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status == 503 else None
    content = {"error": {"message": sentence, "type": kind, "param": None, "code": status}}
    return JSONResponse(content, status, headers)


def make_app(endpoint: Endpoint) -> FastAPI:
    """The application; nothing of it describes itself, since such pages load scripts from elsewhere."""
    app = FastAPI(openapi_url=None)
    app.add_route("/v1/chat/completions", endpoint.complete, methods=["POST"])

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        endpoint.admit(request)
        return {
            "object": "list",
            "data": [{"id": endpoint.model, "object": "model", "created": 0, "owned_by": "vovnet"}],
        }

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return _failed(error.status, str(error))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return _failed(error.status_code, f"{request.method} {request.url.path} is not served here.")

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return _failed(500, "the server failed to answer; its log says why.")

    return app
