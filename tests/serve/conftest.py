"""A trained policy over a few images of easy-VQA, and a server of it in this process."""

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

import vovnet
from tests.conftest import compose_config
from vovnet.api.router import Router
from vovnet.data import Sample
from vovnet.results.setting import make_policy
from vovnet.schema import RunConfig
from vovnet.serve.run import application, listening
from vovnet.session import Session

KEY = "a key of the tests"
N = 24


@dataclass(frozen=True)
class Known:
    """What a server is compared with."""

    runs: Path
    data: vovnet.Dataset
    samples: tuple[Sample, ...]
    session: Session

    def config(self, *overrides: str, policy: str = "one_step") -> RunConfig:
        own = [
            f"dataset.path={self.data.config.path}",
            f"paths.runs={self.runs}",
            f"eval.checkpoint={self.runs / policy}",
        ]
        chosen = ["policy=sequential"] if policy == "sequential" else []
        given = ["eval.max_new_tokens=4", "policy.lambda_cost=0.05", *own, *chosen, *overrides]
        return compose_config(*given, root="serve")

    def router(self, policy: str = "one_step", lambda_cost: float = 0.05) -> Router:
        config = self.config(f"policy.lambda_cost={lambda_cost}", policy=policy)
        return Router.of(config, make_policy(config, self.session), self.session)


@pytest.fixture(scope="session")
def known(easy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Known:
    runs = tmp_path_factory.mktemp("served")
    data = vovnet.load_dataset("easy_vqa", path=str(easy_data))
    options = {"max_samples": N, "runs": runs, "max_new_tokens": 4, "session": Session()}
    out = vovnet.collect(vovnet.load_vlm("tiny"), data, **options)
    for procedure in ("one_step", "sequential"):
        vovnet.train_policy(out.train, folder=runs / procedure, procedure=procedure, epochs=2)
    return Known(runs, data, tuple(out.test.samples), Session())


@contextmanager
def served(config: RunConfig, key: str | None = KEY) -> Iterator[str]:
    """The address of a server that runs in a thread."""
    app, close = application(config, Session(), key)
    with listening("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            close()


@pytest.fixture(scope="session")
def address(known: Known) -> Iterator[str]:
    with served(known.config("serve.max_image_megabytes=0.2", "serve.max_megapixels=1")) as found:
        yield found


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0)


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def message(text: str, *images: bytes) -> dict[str, Any]:
    pictures = [{"type": "image_url", "image_url": {"url": data_url(one)}} for one in images]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}


def asked(sample: Sample, **more: Any) -> dict[str, Any]:
    """What a client's ``create`` is given for a question."""
    return {"model": "tiny", "messages": [message(sample.question, *(one.content() for one in sample.images))], **more}
