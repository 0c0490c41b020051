"""Batches are prepared ahead, in order, and what goes wrong with one arrives as itself."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.errors import VoVNetError
from vovnet.outcomes.ahead import AHEAD, Preparing, prepared
from vovnet.vlm.protocol import Each


def squares(part: int, each: Each) -> list[int]:
    return list(each(lambda number: number**2, range(part)))


@given(parts=st.lists(st.integers(0, 9), max_size=8), threads=st.integers(0, 3))
def test_threads_change_no_batch_and_no_order(parts: list[int], threads: int) -> None:
    assert list(prepared(parts, squares, threads)) == [squares(part, map) for part in parts]


@pytest.mark.parametrize(("threads", "early"), [(0, 0), (2, AHEAD)])
def test_a_plan_is_read_as_far_as_batches_are_prepared(threads: int, early: int) -> None:
    taken = list[int]()

    def plan() -> Iterator[int]:
        for part in range(6):
            taken.append(part)
            yield part

    batches = prepared(plan(), squares, threads)
    next(batches)
    assert taken == list(range(1 + early))
    batches.close()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_arrives_where_its_batch_is_due(threads: int) -> None:
    def build(part: int, each: Each) -> int:
        if part == 1:
            raise VoVNetError("image 7 cannot be read")
        return part

    batches = prepared(range(3), build, threads)
    assert next(batches) == 0
    with pytest.raises(VoVNetError, match=r"^image 7 cannot be read$"):
        next(batches)


def test_images_of_a_batch_are_prepared_side_by_side() -> None:
    meeting = threading.Barrier(3)  # each waits for two others
    preparing = Preparing(3)
    assert list(preparing.submit(lambda each: list(each(lambda _: meeting.wait(10) >= 0, range(3))))()) == [True] * 3
    preparing.close()


def test_closing_leaves_no_thread() -> None:
    before = threading.active_count()
    list(prepared(range(5), squares, 4))
    assert threading.active_count() == before
