"""Steps are a function of seed and number, and ranks divide them without loss or repetition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import compose_config
from vovnet.errors import VoVNetError
from vovnet.schema import BackboneTraining
from vovnet.training.order import StepLoader, StepOrder, even_parts
from vovnet.training.questions import micro_batches

COUNTS = st.integers(1, 60)


def order(count: int, batch: int, keep_rest: bool = True) -> StepOrder:
    return StepOrder(np.arange(100, 100 + count), batch, seed=3, keep_rest=keep_rest)


@given(COUNTS, st.integers(1, 20))
def test_an_epoch_takes_every_row_once(count: int, batch: int) -> None:
    steps = order(count, batch)
    for epoch in range(2):
        begin = epoch * steps.steps_per_epoch
        seen = np.concatenate([steps.step(begin + i) for i in range(steps.steps_per_epoch)])
        assert sorted(seen) == list(range(100, 100 + count))


def test_epochs_are_shuffled_apart_and_alike_for_a_seed() -> None:
    first, again = order(50, 50), order(50, 50)
    assert (first.step(0) != first.step(1)).any()
    assert (first.step(1) == again.step(1)).all()


def test_the_rest_of_an_epoch_is_left_out_on_request() -> None:
    assert {len(order(10, 4, keep_rest=False).step(i)) for i in range(6)} == {4}


def test_noise_belongs_to_the_step_and_not_to_the_order_of_asking() -> None:
    noise = order(50, 8).gumbel(2, 3)
    steps = order(50, 8)
    steps.gumbel(0, 3)
    assert noise.shape == (8, 3)
    assert (noise == steps.gumbel(2, 3)).all()
    assert (noise != steps.gumbel(3, 3)).all()


@given(COUNTS, st.integers(1, 20), st.integers(1, 5))
def test_validation_over_ranks_counts_no_row_twice(count: int, batch: int, ranks: int) -> None:
    parts = [even_parts(np.arange(count), batch, rank, ranks) for rank in range(ranks)]
    rows = np.concatenate([part for rank in parts for part in rank])
    assert sorted(rows) == list(range(count))
    assert len({len(rank) for rank in parts}) == 1
    assert max(len(part) for rank in parts for part in rank) <= batch


def options(*overrides: str) -> BackboneTraining:
    training = compose_config(*overrides, root="train").training
    return training.backbone


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_micro_batches_of_all_ranks_are_the_step(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    found = []
    for rank in range(ranks):
        monkeypatch.setenv("RANK", str(rank))
        micro = micro_batches(np.arange(70), options("training.backbone.micro_batch_size=8"), seed=0)
        assert micro.accumulate == 8 // ranks
        for number in range(micro.accumulate):
            step, part = micro.place(micro.accumulate + number)  # of the second step
            assert step == 1
            found += micro.order.step(step)[part].tolist()
    assert sorted(found) == sorted(micro.order.step(1).tolist())


@pytest.mark.parametrize(
    ("overrides", "rows", "sentence"),
    [
        ((), 63, "63 training questions do not fill one step; lower training.backbone.batch_size=64"),
        (("training.backbone.batch_size=16",), 63, "batch_size=16 is no multiple of micro_batch_size=16 times 3"),
    ],
)
def test_impossible_divisions_are_refused(
    overrides: tuple[str, ...], rows: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3" if overrides else "1")
    with pytest.raises(VoVNetError, match=sentence):
        micro_batches(np.arange(rows), options(*overrides), seed=0)


def test_an_uneven_batch_is_refused_by_the_schema() -> None:
    with pytest.raises(VoVNetError, match=r"backbone.batch_size \(60\) must be a multiple"):
        compose_config("training.backbone.batch_size=60", root="train")


def test_a_loader_goes_on_from_its_position() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, step: int) -> int:
            return step * step

    whole = StepLoader(Numbers())
    batches = iter(whole)
    assert [next(batches), next(batches)] == [0, 1]
    resumed = StepLoader(Numbers())
    resumed.load_state_dict(whole.state_dict())
    assert list(resumed) == [4, 9, 16]
