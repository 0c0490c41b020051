"""Outcomes collected from servers: transformers' own, ours, and one that fails as servers do."""

import json
import math
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vovnet
from tests.commands import ROOT
from tests.conftest import compose_config
from tests.experiments.test_guides import printed
from tests.families import beside
from vovnet.actions import USUAL
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.asked import Asked
from vovnet.outcomes.load import collect_outcomes, load_outcomes
from vovnet.outcomes.rows import Outcomes
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.auto import settled
from vovnet.vlm.files import PACKAGED, find_checkpoint

TINY = PACKAGED / "tiny"
N = 10


def config_of(address: str, data: Path, store: Path, *more: str) -> RunConfig:
    served = [f"backbone.base_url={address}/v1", f"backbone.model={TINY}", f"backbone.processor={TINY}"]
    return compose_config(
        "backbone=openai", *served, "vision_budget=tiny", "backbone.prompt_order=text_first", "backbone.retries=2",
        f"dataset.path={data}", f"paths.runs={store}", "eval.max_new_tokens=4", *more,
    )  # fmt: skip


def outcomes(config: RunConfig, with_text: bool = False, actions: Sequence[Any] = USUAL) -> Outcomes:
    session = Session()
    config = settled(config, session)
    checkpoint = find_checkpoint(config.backbone, session=session)
    data = load_dataset(config.dataset, "test")
    return load_outcomes(config, checkpoint, data, tuple(actions), N, with_text, session).outcomes


@pytest.fixture(scope="module")
def transformers_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of ``transformers serve`` with the packaged model; it loads a video processor, by torchvision."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    logs = tmp_path_factory.mktemp("served") / "log"
    call = [sys.executable, "-m", "tests.vlm.openai.transformers_serve", "serve", str(TINY), "--host", "127.0.0.1"]
    call += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with logs.open("w") as log:
        server = subprocess.Popen(call, stdout=log, stderr=log, env=beside.variables())
    try:
        while True:
            assert server.poll() is None, logs.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_transformers_serve_answers_as_the_model_does_here(
    transformers_serve: str, easy_data: Path, tmp_path: Path
) -> None:
    here = compose_config(f"dataset.path={easy_data}", f"paths.runs={tmp_path}", "eval.max_new_tokens=4")
    expected, found = outcomes(here), outcomes(config_of(transformers_serve, easy_data, tmp_path))
    for action in USUAL:
        ours, theirs = expected.branches[action], found.branches[action]
        assert theirs.prediction.tolist() == ours.prediction.tolist()
        assert theirs.vision_tokens.tolist() == ours.vision_tokens.tolist()
        assert theirs.prompt_tokens.tolist() == ours.prompt_tokens.tolist()
        assert theirs.patches.tolist() == ours.patches.tolist()
        assert np.isnan(theirs.confidence).all()  # it tells no log-probabilities
    with pytest.raises(VoVNetError, match="gives no log-probabilities"):
        outcomes(config_of(transformers_serve, easy_data, tmp_path), with_text=True)


class Fake(ThreadingHTTPServer):
    """A server of made-up answers that counts an image as the packaged model does, and fails as it is told.

    Attributes:
        failures: statuses of the next requests that are no probes.
        asked: bodies of the requests.
        enlarges: it sizes images itself.
        tells: log-probabilities.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures, self.asked, self.enlarges, self.tells = list[int](), list[dict[str, Any]](), False, True
        self.keys = set[str | None]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self) -> None:
        fake: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake.asked.append(body)
        fake.keys.add(self.headers["Authorization"])
        content = body["messages"][0]["content"]
        probe = content[0].get("text") == "Hello"
        if not probe and fake.failures:
            status = fake.failures.pop(0)
            self._send(status, {"error": {"message": f"failure {status}"}})
            return
        images = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        tokens = 20 + sum(2 + (256 if fake.enlarges else tokens_of(one)) for one in images)
        logprobs = None
        if fake.tells and body.get("logprobs"):
            tops = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in (("a", 0.5), ("b", 0.25))]
            first = {"token": "a", "logprob": math.log(0.5), "bytes": None, "top_logprobs": tops}
            logprobs = {"content": [first, {**first, "logprob": math.log(0.8)}]}
        choice = {"index": 0, "message": {"role": "assistant", "content": " red "}, "finish_reason": "stop"}
        usage = {"prompt_tokens": tokens, "completion_tokens": 2, "total_tokens": tokens + 2}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        self._send(200, head | {"choices": [choice | {"logprobs": logprobs}], "usage": usage})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def tokens_of(url: str) -> int:
    """Of 8 x 8 pixels each, as in the packaged model."""
    import base64
    import io

    from PIL import Image

    width, height = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size
    return width * height // 64


@pytest.fixture
def fake() -> Iterator[Fake]:
    with running() as server:
        yield server


@contextmanager
def running() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_likeliest_tokens_give_entropy_margin_and_the_answers_probability(
    fake: Fake, easy_data: Path, tmp_path: Path
) -> None:
    found = outcomes(config_of(fake.address, easy_data, tmp_path), with_text=True)
    shares = np.array([2, 1]) / 3  # of the two that it tells
    np.testing.assert_allclose(found.text.entropy, -(shares * np.log(shares)).sum(), rtol=1e-5)
    np.testing.assert_allclose(found.text.margin, 1 / 3, rtol=1e-5)
    assert found.text.hidden.width == 0
    assert found.text.text_tokens.tolist() == [20] * N
    full = found.branches[USUAL[2]]
    np.testing.assert_allclose(full.confidence, 0.4, rtol=1e-6)
    assert set(full.prediction) == {"red"}
    assert (full.prompt_tokens - full.vision_tokens).tolist() == [22] * N
    assert {body["temperature"] for body in fake.asked} == {0}
    kinds = [[part["type"] for part in body["messages"][0]["content"]] for body in fake.asked]
    assert ["text", "image_url"] in kinds
    assert ["image_url", "text"] not in kinds


def test_the_page_collects_as_printed(fake: Fake, easy_data: Path, tmp_path: Path) -> None:
    command = printed(ROOT / "experiments/serving.md")[1]
    _, _, _, *arguments = command.replace("Qwen/Qwen3-VL-8B-Instruct", str(TINY)).split()
    given = [one.replace("http://127.0.0.1:8001", fake.address) for one in arguments]
    own = ["vision_budget=tiny", f"dataset.path={easy_data}", f"paths.runs={tmp_path}", "eval.max_samples=4"]
    collected = vovnet.run("collect", [*given, *own])
    summary = json.loads((collected.folder / "summary.json").read_text())
    assert summary["backbone"]["folder"] == str(TINY)
    kinds = {tuple(part["type"] for part in body["messages"][0]["content"]) for body in fake.asked}
    assert kinds == {("text",), ("image_url", "text")}  # as chat models are trained


def test_what_is_stored_is_not_asked_again_and_failures_are_repeated(
    fake: Fake, easy_data: Path, tmp_path: Path
) -> None:
    fake.failures = [429, 503]
    config = config_of(
        fake.address, easy_data, tmp_path, "eval.chunk_rows=5", "eval.batch_size=5", "backbone.concurrency=1"
    )
    full = USUAL[2:]
    outcomes(config, actions=full)
    questions = [body for body in fake.asked if "Hello" not in str(body["messages"])[:80]]
    assert len(questions) == N + 2
    fake.asked.clear()
    outcomes(config, actions=full)
    assert fake.asked == []


def test_a_server_that_stays_away_costs_the_rows_of_one_chunk(fake: Fake, easy_data: Path, tmp_path: Path) -> None:
    once = ["eval.chunk_rows=5", "eval.batch_size=5", "backbone.concurrency=1", "backbone.retries=0"]
    config = settled(config_of(fake.address, easy_data, tmp_path, *once))
    checkpoint, data = find_checkpoint(config.backbone), load_dataset(config.dataset, "test")
    asked = Asked(config, USUAL[2:], with_text=False)
    collect_outcomes(asked, checkpoint, data, 5)
    fake.failures = [500]
    with pytest.raises(VoVNetError, match=r"does not answer .*: what is stored is not asked again"):
        collect_outcomes(asked, checkpoint, data, N)
    fake.failures = [400]
    with pytest.raises(VoVNetError, match=r"refuses sample .*failure 400"):
        collect_outcomes(asked, checkpoint, data, N)
    assert collect_outcomes(asked, checkpoint, data, N) == {"full": 5}


def test_a_server_that_sizes_images_itself_is_refused(fake: Fake, easy_data: Path, tmp_path: Path) -> None:
    fake.enlarges = True
    with pytest.raises(VoVNetError, match=r"256\d* for COARSE|258 for COARSE"):
        outcomes(config_of(fake.address, easy_data, tmp_path))


def test_a_server_without_log_probabilities_gives_no_answer_probability(
    fake: Fake, easy_data: Path, tmp_path: Path
) -> None:
    fake.tells = False
    config = config_of(fake.address, easy_data, tmp_path)
    assert np.isnan(outcomes(config, actions=USUAL[1:2]).branches[USUAL[1]].confidence).all()
    given = _overrides(config)
    row = vovnet.run("eval", [*given, "policy/baseline=always_coarse"]).results[0]
    assert row.ece is None
    assert row.avg_cost > 0
    with pytest.raises(VoVNetError, match="hold no answer_probability"):
        vovnet.run("eval", [*given, "policy/baseline=cascade", "policy.baseline.threshold=0.5"])


def _overrides(config: RunConfig) -> list[str]:
    served = config.backbone
    return [
        "backbone=openai", f"backbone.base_url={served.base_url}", f"backbone.model={served.model}",
        f"backbone.processor={served.processor}", "vision_budget=tiny", "backbone.prompt_order=text_first",
        f"dataset.path={config.dataset.path}", f"paths.runs={config.paths.runs}", "eval.max_new_tokens=4",
        f"eval.max_samples={N}",
    ]  # fmt: skip


def test_the_key_comes_from_the_environment(
    fake: Fake, easy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    outcomes(config_of(fake.address, easy_data, tmp_path), actions=USUAL[:1])
    assert fake.keys == {"Bearer a key"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["backbone.model=null"], "needs backbone.model"),
        (["backbone.base_url=null"], "needs backbone.base_url"),
        (["backbone.processor=null"], "needs backbone.processor"),
        (["backbone.processor=/nowhere"], "/nowhere"),
        (["backbone.adapter=x"], "start the server with it"),
        (["policy.full_pruning_ratio=0.5"], "cannot leave out vision tokens"),
        (["eval.num_beams=2"], "asked greedily"),
    ],
)
def test_what_a_server_cannot_do_is_refused(
    overrides: list[str], sentence: str, fake: Fake, easy_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        outcomes(config_of(fake.address, easy_data, tmp_path, *overrides))


def test_nothing_is_trained_on_a_server(fake: Fake, easy_data: Path, tmp_path: Path) -> None:
    given = _overrides(config_of(fake.address, easy_data, tmp_path))[:-1]
    with pytest.raises(VoVNetError, match="learns from hidden states"):
        vovnet.run("train", given)
    assert fake.asked == []


def test_nothing_is_routed_live_on_a_server(fake: Fake, easy_data: Path, tmp_path: Path) -> None:
    given = _overrides(config_of(fake.address, easy_data, tmp_path))
    with pytest.raises(VoVNetError, match="is asked in collections only"):
        vovnet.run("eval", [*given, "eval.mode=live", "policy/baseline=always_full"])
    assert fake.asked == []


def test_a_server_that_is_not_there_is_named(easy_data: Path, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"the server at http://127.0.0.1:9/v1 does not answer"):
        outcomes(config_of("http://127.0.0.1:9", easy_data, tmp_path, "backbone.retries=0"))
