"""What the endpoint adds to live routing, on the tiny backbone: ``python -m tests.performance.serving``.

Rounds of both alternate, so that what else the machine does slows both, and the best of each is compared: throughput
at 32 concurrent requests (at least 0.9 of live routing in batches of 32), and the median latency of single requests
(at most 1.2 of direct calls).
"""

import http.client
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import vovnet
from tests.conftest import compose_config
from tests.serve.conftest import asked, served
from vovnet.api.router import Router
from vovnet.data import Sample, item
from vovnet.policy.route import make_router
from vovnet.results.setting import make_policy
from vovnet.session import Session

CONCURRENT, QUESTIONS, ROUNDS = 32, 320, 5


def main() -> None:
    """Measure and print both ratios."""
    with tempfile.TemporaryDirectory() as runs:
        data = vovnet.load_dataset("easy_vqa")
        out = vovnet.collect(vovnet.load_vlm("tiny"), data, splits=["train"], max_samples=300, runs=runs)
        vovnet.train_policy(out.train, folder=Path(runs) / "policy", epochs=3)
        own = [f"eval.checkpoint={runs}/policy", f"paths.runs={runs}", "policy.lambda_cost=0.05"]
        config, session = compose_config(*own, f"eval.batch_size={CONCURRENT}", root="serve"), Session()
        policy, split = make_policy(config, session), data.split("test")
        live, direct = make_router(config, split, policy, session=session), Router.of(config, policy, session)
        items = [item(split, place) for place in range(QUESTIONS)]
        samples = [sample for _, sample, _ in items]

        def in_batches() -> None:
            live.backbone.builder.forget()  # a server keeps no images between batches, and a first run has none
            for start in range(0, QUESTIONS, CONCURRENT):
                live(items[start : start + CONCURRENT])

        def one_by_one() -> list[float]:
            return [timed(lambda sample=sample: ask_directly(direct, sample)) for sample in samples[:50]]  # type: ignore[misc]

        with served(config, key=None) as address, multiprocessing.get_context("spawn").Pool(1) as client:
            bodies = [json.dumps(asked(sample)).encode() for sample in samples]
            client.apply(together, (address, bodies[:CONCURRENT]))  # warm
            pairs = [(timed(in_batches), client.apply(together, (address, bodies))) for _ in range(ROUNDS)]
            singles = [(one_by_one(), client.apply(alone, (address, bodies[:50]))) for _ in range(ROUNDS)]
    fastest_live, fastest_served = (min(times) for times in zip(*pairs, strict=True))
    print(
        f"throughput at {CONCURRENT}: {QUESTIONS / fastest_served:.0f} of {QUESTIONS / fastest_live:.0f} questions/s, "
    )
    print(f"    {fastest_live / fastest_served:.2f} of live routing (target: at least 0.9)")
    called, sent = (min(map(statistics.median, times)) * 1e3 for times in zip(*singles, strict=True))
    print(f"p50 of single requests: {sent:.2f} ms, of direct calls {called:.2f} ms, {sent / called:.2f} (at most 1.2)")


def ask_directly(router: Router, sample: Sample) -> None:
    """A direct call with encoded images; nothing of them is kept for the next."""
    router(sample.question, [one.content() for one in sample.images])
    router.forget()


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def together(address: str, bodies: list[bytes]) -> float:
    """Seconds until all requests are answered, a few at once, each over a connection that stays open."""

    def work(own: list[bytes]) -> None:
        connection = http.client.HTTPConnection(address.removeprefix("http://"))
        for body in own:
            post(connection, body)

    with ThreadPoolExecutor(CONCURRENT) as pool:
        return timed(lambda: list(pool.map(work, [bodies[start::CONCURRENT] for start in range(CONCURRENT)])))


def alone(address: str, bodies: list[bytes]) -> list[float]:
    """Seconds of each request, one after another."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    return [timed(lambda body=body: post(connection, body)) for body in bodies]  # type: ignore[misc]


def post(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Ask, and read the answer."""
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content


if __name__ == "__main__":
    main()
