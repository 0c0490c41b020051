"""Questions that come one by one are answered together."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, wait

import pytest

from vovnet.errors import VoVNetError
from vovnet.serve.batches import Batches, FullError


class Model:
    """Answers ``n`` by ``n + 1``, slowly on request; refuses 13, and runs out of memory over three at once."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.freed = 0
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        self.seen.append(list(asked))
        self.entered.set()
        assert self.go.wait(10)
        if 13 in asked:
            raise VoVNetError("13 is refused.")
        if 99 in asked and len(asked) > 1:
            raise MemoryError
        return [one + 1 for one in asked]

    def free(self) -> None:
        self.freed += 1

    def hold(self) -> None:
        """Be busy from the next batch on."""
        self.entered.clear()
        self.go.clear()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batches(model: Model) -> Iterator[Batches[int, int]]:
    made = Batches(
        model,
        size=4,
        waiting=8,
        weight=lambda one: 2 if one == 50 else 1,
        alike=lambda one: one < 1000,
        free_memory=model.free,
    )
    yield made
    model.go.set()
    made.close()


def together(model: Model, batches: Batches[int, int], asked: Sequence[int]) -> "list[object]":
    """Futures of questions that all wait behind another one."""
    model.hold()
    batches.submit(0)
    assert model.entered.wait(10)
    futures = [batches.submit(one) for one in asked]
    model.seen.clear()
    model.go.set()
    wait(futures)
    return [one.exception() or one.result() for one in futures]


def test_what_waits_is_answered_together_up_to_the_size(model: Model, batches: Batches[int, int]) -> None:
    assert together(model, batches, [1, 2, 3, 4, 5, 6]) == [2, 3, 4, 5, 6, 7]
    assert model.seen == [[1, 2, 3, 4], [5, 6]]


def test_heavy_questions_make_batches_small(model: Model, batches: Batches[int, int]) -> None:
    assert together(model, batches, [1, 2, 50, 3, 4, 50]) == [2, 3, 51, 4, 5, 51]
    assert model.seen == [[1, 2, 3, 4], [50, 50]]


def test_only_what_is_alike_is_answered_together(model: Model, batches: Batches[int, int]) -> None:
    assert together(model, batches, [1, 2000, 2, 3000]) == [2, 2001, 3, 3001]
    assert model.seen == [[1, 2], [2000, 3000]]


def test_an_error_is_its_askers_alone(model: Model, batches: Batches[int, int]) -> None:
    one, two, refused, four = together(model, batches, [1, 2, 13, 4])
    assert (one, two, four) == (2, 3, 5)
    assert isinstance(refused, VoVNetError)
    assert model.freed == 0


def test_a_batch_that_does_not_fit_is_answered_in_halves(model: Model, batches: Batches[int, int]) -> None:
    assert together(model, batches, [1, 2, 3, 99]) == [2, 3, 4, 100]
    assert model.freed == 2


def test_what_is_cancelled_is_not_answered(model: Model, batches: Batches[int, int]) -> None:
    model.hold()
    batches.submit(0)
    assert model.entered.wait(10)
    gone, stays = batches.submit(1), batches.submit(2)
    assert gone.cancel()
    model.go.set()
    assert stays.result(10) == 3
    assert model.seen == [[0], [2]]


def test_more_than_may_wait_are_turned_away_and_what_waits_at_the_end_is_cancelled(model: Model) -> None:
    batches = Batches(model, size=4, waiting=2, weight=bool, alike=bool, free_memory=model.free)
    model.hold()
    batches.submit(1)
    assert model.entered.wait(10)
    waiting = [batches.submit(2), batches.submit(3)]
    with pytest.raises(FullError):
        batches.submit(4)
    closing = threading.Thread(target=batches.close)
    closing.start()
    for one in waiting:
        with pytest.raises(CancelledError):
            one.result(10)
    model.go.set()
    closing.join(10)
    assert not closing.is_alive()
