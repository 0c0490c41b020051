"""The endpoint, asked by OpenAI's own client."""

import io
import json
import os
import re
import signal
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from tests.commands import ROOT, start
from tests.conftest import compose_config
from tests.experiments.test_guides import printed as printed_commands
from tests.serve.conftest import KEY, Known, asked, message, served
from tests.vlm.openai.test_served import config_of, outcomes
from vovnet.actions import USUAL
from vovnet.api.router import Reply, Router
from vovnet.errors import VoVNetError
from vovnet.serve.asked import Question
from vovnet.serve.engine import Engine
from vovnet.serve.run import KEY as VARIABLE
from vovnet.serve.run import listening, serve
from vovnet.session import Session

PAGE = ROOT / "experiments/serving.md"


def png(width: int, height: int) -> bytes:
    """A PNG of any size that ends before its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    sound = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + sound + struct.pack(">I", 100) + b"IDAT"


def whole(width: int = 20, height: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def of(reply: Reply, full: int) -> dict[str, Any]:
    """A router's reply as the endpoint words it."""
    return {"action": reply.look, "cost": reply.cost, "vision_tokens": reply.vision_tokens, "saved_tokens": full}


def post(address: str, content: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and body of a request that no client of OpenAI's would send."""
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{address}/v1/chat/completions", content, sent)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("price", [None, 0.0, 0.3, 9.0])
def test_it_answers_as_the_router_does_at_the_lambda_that_is_asked_for(
    price: float | None, known: Known, client: openai.OpenAI
) -> None:
    router = known.router(lambda_cost=0.05 if price is None else price)
    replies = router.answer([(one.question, one.images[0].path, ()) for one in known.samples])
    more = {} if price is None else {"extra_body": {"lambda_cost": price}}
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda one: client.chat.completions.create(**asked(one, **more)), known.samples))
    assert [one.choices[0].message.content for one in said] == [reply.answer for reply in replies]
    found = [one.model_extra["vovnet"] for one in said]  # type: ignore[index]
    assert {one["lambda_cost"] for one in found} == {0.05 if price is None else price}
    saved = [reply.full_tokens - reply.vision_tokens for reply in replies]
    expected = [
        of(reply, full) | {"lambda_cost": found[0]["lambda_cost"]} for reply, full in zip(replies, saved, strict=True)
    ]
    assert found == expected
    assert [one.usage.prompt_tokens for one in said] == [reply.prompt_tokens for reply in replies]  # type: ignore[union-attr]
    if price == 9.0:
        assert {one["action"] for one in found} == {"no"}
        assert all(one["saved_tokens"] > 0 for one in found)


@pytest.mark.parametrize("policy", ["one_step", "sequential"])
def test_questions_at_several_lambdas_share_a_batch(policy: str, known: Known) -> None:
    prices = [0.0, 0.02, 0.3, 9.0]
    engine = Engine(known.config(policy=policy), Session())
    questions = [
        Question(one.question, (one.images[0].content(),), 64 * 64, (), prices[place % 4], 4)
        for place, one in enumerate(known.samples)
    ]
    mixed = engine.answer(questions)
    for number, price in enumerate(prices):
        own = known.samples[number::4]
        alone = known.router(policy, price).answer([(one.question, one.images[0].path, ()) for one in own])
        assert [(one.answer, one.look, one.cost) for one in mixed[number::4]] == [
            (one.answer, one.look, one.cost) for one in alone
        ]
    assert len({one.look for one in mixed}) > 1


def test_a_stream_holds_the_answer_the_routing_and_the_tokens(known: Known, client: openai.OpenAI) -> None:
    sample = known.samples[0]
    plain = client.chat.completions.create(**asked(sample))
    stream = client.chat.completions.create(**asked(sample, stream=True, stream_options={"include_usage": True}))
    chunks = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == plain.choices[0].message.content
    assert [one.choices[0].finish_reason for one in chunks if one.choices] == [None, plain.choices[0].finish_reason]
    assert chunks[1].model_extra["vovnet"] == plain.model_extra["vovnet"]  # type: ignore[index]
    assert chunks[-1].usage == plain.usage


def test_an_answer_that_is_cut_says_so(known: Known, client: openai.OpenAI) -> None:
    short = client.chat.completions.create(**asked(known.samples[0], max_tokens=1))
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 1)  # type: ignore[union-attr]


def test_options_are_asked_in_the_prompt_of_the_data_set(known: Known, client: openai.OpenAI) -> None:
    sample = known.samples[0]
    options = ("red", "green")
    expected = known.router()(sample.question, sample.images[0].path, options)
    said = client.chat.completions.create(**asked(sample, extra_body={"options": options}))
    assert said.usage.prompt_tokens == expected.prompt_tokens  # type: ignore[union-attr]


def test_a_question_about_no_image_is_answered_blind(known: Known, client: openai.OpenAI) -> None:
    sample = known.samples[0]
    said = client.chat.completions.create(model="tiny", messages=[message(sample.question)])  # type: ignore[list-item]
    expected = known.router(lambda_cost=9.0)(sample.question, sample.images[0].path)
    assert said.choices[0].message.content == expected.answer
    assert said.model_extra["vovnet"]["action"] == "no"  # type: ignore[index]
    assert said.model_extra["vovnet"]["saved_tokens"] == 0  # type: ignore[index]


def test_the_page_asks_as_printed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "picture.png").write_bytes(whole())
    monkeypatch.chdir(tmp_path)
    exec(code.replace("http://127.0.0.1:8000", address).replace('api_key="none"', f"api_key={KEY!r}"), {})
    assert "'lambda_cost': 0.1" in capsys.readouterr().out


def test_its_own_looks_are_collected_from_it(known: Known, tmp_path: Path) -> None:
    data = Path(str(known.data.config.path))
    here = outcomes(compose_config(f"dataset.path={data}", f"paths.runs={tmp_path}", "eval.max_new_tokens=4"))
    with served(known.config("policy/baseline=always_full", "eval.checkpoint=null"), key=None) as address:
        own = ["backbone.model=tiny", "backbone.name=ours"]
        found = outcomes(config_of(address, data, tmp_path, *own))
    for action in USUAL:
        ours, theirs = here.branches[action], found.branches[action]
        assert theirs.prediction.tolist() == ours.prediction.tolist()
        assert theirs.vision_tokens.tolist() == ours.vision_tokens.tolist()
        assert theirs.prompt_tokens.tolist() == ours.prompt_tokens.tolist()


def test_a_key_is_asked_for_everywhere_but_at_the_health_check(address: str, known: Known) -> None:
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="another", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="the key is missing or wrong"):
        stranger.chat.completions.create(**asked(known.samples[0]))
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    assert [one.id for one in openai.OpenAI(base_url=f"{address}/v1", api_key=KEY).models.list()] == ["tiny"]
    with urllib.request.urlopen(f"{address}/health") as answer:
        assert json.load(answer) == {"status": "ok"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"messages": [message("Which?", whole()[:60])]}, "image 1 cannot be decoded"),
        ({"messages": [message("Which?", b"no image")]}, "image 1 cannot be read"),
        ({"messages": [message("Which?", whole(), png(60_000, 60_000))]}, "image 2 has more than 67,108,864 pixels"),
        ({"messages": [message("Which?", png(1001, 1000))]}, "more than 1 megapixels"),
        ({"messages": [message("Which?", bytes(200_001))]}, "image 1 is larger than 0.2 MB"),
        ({"messages": [message("Which?", *[whole()] * 9)]}, "holds 9 images; send at most 8"),
        ({"messages": [message(" ", whole())]}, "holds no text"),
        ({"messages": [message("Which?", whole())] * 2}, "holds one message"),
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "system", "content": "Be kind."}]}, "messages.0.role: Input should be 'user'"),
        ({"extra_body": {"lambda": 0.1}}, "the field lambda is not supported"),
        ({"extra_body": {"lambda_cost": -1}}, "lambda_cost: "),
        ({"extra_body": {"lambda_cost": "dear"}}, "lambda_cost: "),
        ({"n": 2}, "n: Input should be 1"),
        ({"temperature": 0.7}, "temperature: "),
        ({"logprobs": True}, "logprobs: "),
        ({"tools": []}, "the field tools is not supported"),
        ({"model": "gpt-9"}, "there is no model 'gpt-9' here; ask for tiny"),
        ({"messages": [message("Which? " * 1200, whole())]}, "has 8400 characters; send at most 8000"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(
    change: dict[str, Any], sentence: str, known: Known, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**asked(known.samples[0]) | change)
    body: Any = caught.value.body
    assert caught.value.status_code == (404 if "model" in change else 400)
    assert sentence in body["message"]
    assert body["message"].endswith(".")
    assert "\n" not in body["message"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.png", "file:///etc/passwd", "/etc/passwd", "data:text/html,x"])
def test_nothing_is_fetched(url: str, client: openai.OpenAI) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Which?"}]
    with pytest.raises(openai.BadRequestError, match="nothing is fetched from elsewhere"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}])  # type: ignore[list-item,misc]


@pytest.mark.parametrize(
    ("content", "headers", "status", "sentence"),
    [
        (b"{", {}, 400, "the body: Invalid JSON"),
        (b"[]", {}, 400, "the body: "),
        (b"{}", {"Content_Type": "text/plain"}, 415, "the body is no JSON"),
        (b"{}", {"Authorization": "x"}, 401, "the key is missing or wrong"),
        (b" " * 4_000_000, {}, 413, "the request is larger than"),
    ],
)
def test_a_body_that_is_none_is_refused(
    content: bytes, headers: dict[str, str], status: int, sentence: str, address: str
) -> None:
    found, body = post(address, content, **headers)
    assert found == status
    assert sentence in body["error"]["message"]


def test_two_hundred_at_once_get_what_each_asks_for(
    known: Known, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Router.answer

    def refusing(router: Router, questions: Sequence[Any], *more: Any) -> list[Reply]:
        if any(text == "Impossible?" for text, *_ in questions):
            raise VoVNetError("a question is impossible.")
        return answer(router, questions, *more)

    monkeypatch.setattr(Router, "answer", refusing)
    others = {3: message("Broken?", whole()[:60]), 7: message("Impossible?", whole())}
    requests = [asked(known.samples[place % len(known.samples)]) for place in range(200)]
    requests = [
        one | {"messages": [others[place % 20]]} if place % 20 in others else one for place, one in enumerate(requests)
    ]

    def ask(request: dict[str, Any]) -> str | None:
        try:
            return client.chat.completions.create(**request).choices[0].message.content
        except openai.BadRequestError as error:
            return str(error.body["message"])  # type: ignore[index]

    with ThreadPoolExecutor(200) as pool:
        said = list(pool.map(ask, requests))
    replies = known.router().answer([(one.question, one.images[0].path, ()) for one in known.samples])
    assert {said[place][:7] for place in range(3, 200, 20)} == {"image 1"}  # type: ignore[index]
    assert {said[place] for place in range(7, 200, 20)} == {"a question is impossible."}
    others_said = {place: one for place, one in enumerate(said) if place % 20 not in others}
    assert others_said == {place: replies[place % len(replies)].answer for place in others_said}


def test_connections_that_are_cut_leave_others_alone(address: str, known: Known, client: openai.OpenAI) -> None:
    body = json.dumps(asked(known.samples[0])).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    host, port = address.removeprefix("http://").split(":")
    for sent in (head + body, head + body[:100], head[:30]):
        for _ in range(5):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(sent)
    expected = known.router()(known.samples[1].question, known.samples[1].images[0].path)
    assert client.chat.completions.create(**asked(known.samples[1])).choices[0].message.content == expected.answer


def test_a_baseline_serves_too_but_reads_no_lambda(known: Known) -> None:
    with served(known.config("policy/baseline=always_coarse", "eval.checkpoint=null"), key=None) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        said = client.chat.completions.create(**asked(known.samples[0]))
        assert said.model_extra["vovnet"]["action"] == "coarse"  # type: ignore[index]
        with pytest.raises(openai.BadRequestError, match="always_coarse reads no lambda_cost"):
            client.chat.completions.create(**asked(known.samples[0], extra_body={"lambda_cost": 1}))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["serve.host=0.0.0.0"], "lets other machines ask, and no key is set"),
        (["serve.host=no.such.host.invalid"], "no key is set"),
        (["dataset=mini", "policy/baseline=always_full"], "is a mixture, whose parts have prompts of their own"),
        (["policy/baseline=oracle"], "chooses among outcomes"),
    ],
)
def test_it_does_not_start_where_it_should_not(
    overrides: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(VoVNetError, match=sentence):
        serve(compose_config("serve.port=0", *overrides, root="serve"), Session())


def test_a_port_that_is_taken_is_said_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            VoVNetError, match=rf"cannot listen on 127.0.0.1:{port} \(.*\); set serve.host or serve.port"
        ):
            serve(compose_config(f"serve.port={port}", root="serve"), Session())


def test_a_connection_sends_at_once_what_it_has() -> None:
    with (
        listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(VoVNetError, match=r"pip install 'vovnet\[serve\]'"):
        serve(compose_config(root="serve"), Session())


def test_the_command_says_where_it_listens_and_ends_at_ctrl_c(known: Known, tmp_path: Path) -> None:
    _, _, _, *printed = printed_commands(PAGE)[0].split()
    given = [*printed, "policy/baseline=no_vision", "serve.port=0", f"dataset.path={known.data.config.path}"]
    server = start("serve", *given, logs=tmp_path, cwd=tmp_path, environment={VARIABLE: "long enough a key"})
    try:
        while (found := re.search(r"on (http://127\.0\.0\.1:\d+/v1)$", server.said(), re.MULTILINE)) is None:
            assert server.process.is_alive(), server.said()
            time.sleep(0.05)
        client = openai.OpenAI(base_url=found[1], api_key="long enough a key")
        said = client.chat.completions.create(**asked(known.samples[0]))
        assert said.model_extra["vovnet"]["cost"] == 0  # type: ignore[index]
    finally:
        assert server.process.pid is not None
        os.kill(server.process.pid, signal.SIGINT)
    done = server.done(60)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
