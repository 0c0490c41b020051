"""Aggregates of a split: MMBench's circular score, MMMU's subjects, and the state that adds up over ranks."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import WARM
from vovnet.data import Sample
from vovnet.policy.module import ScoreTable
from vovnet.scoring.official import aggregate
from vovnet.scoring.open_answers import score_plain, score_token_f1, token_f1


def sample(number: int, circle: str, category: str = "", copy: bool = False, rotations: int = 1) -> Sample:
    return Sample(
        str(number), "?", (), ("A",), "an image", category, supercategory=category[:1],
        circle=circle, rotations=rotations, is_copy=copy,
    )  # fmt: skip


ROWS = [
    sample(0, "0", "color", rotations=2),
    sample(1, "1", "shape", rotations=3),
    sample(2, "0", "color", copy=True, rotations=2),
    sample(3, "1", "shape", copy=True, rotations=3),
    sample(4, "1", "shape", copy=True, rotations=3),
]


def test_a_group_is_right_when_all_its_rotations_are() -> None:
    scores = aggregate(ROWS, np.array([1.0, 1, 1, 1, 0]), np.array([1, 1, 1, 1, 0.0]), "accuracy")
    assert (scores.name, scores.value, scores.circular, scores.vanilla) == ("circular_accuracy", 0.5, 0.5, 1.0)
    assert scores.categories == {"color": 1.0, "shape": 0.0}
    assert scores.supercategories == {"c": 1.0, "s": 0.0}
    assert scores.unparsed_rate == pytest.approx(0.2)


def test_a_question_whose_rotations_were_not_all_asked_says_nothing_of_them() -> None:
    first = ROWS[:3]  # as eval.max_samples cuts: question 1 lacks its copies
    scores = aggregate(first, np.array([1.0, 1, 0]), np.ones(3), "accuracy")
    assert (scores.name, scores.value, scores.circles, scores.vanilla) == ("circular_accuracy", 0.0, 1, 1.0)
    assert scores.categories == {"color": 0.0}
    none = aggregate(ROWS[:2], np.array([1.0, 0]), np.ones(2), "accuracy")
    assert (none.name, none.value, none.circular, none.circles) == ("accuracy", 0.5, None, None)
    lone = aggregate([*ROWS[:2], ROWS[3]], np.array([1.0, 0, 1]), np.ones(3), "accuracy")
    assert (lone.name, lone.value, lone.samples) == ("accuracy", 0.5, 3)  # the vanilla one, of base rows
    assert aggregate(ROWS, np.ones(5), np.ones(5), "accuracy").circles == 2


def test_without_copies_every_sample_weighs_the_same() -> None:
    scores = aggregate([*ROWS[:2], sample(5, "5", "color")], np.array([1.0, 0, 0.5]), np.ones(3), "vqa_accuracy")
    assert (scores.name, scores.value, scores.circular) == ("vqa_accuracy", 0.5, None)
    assert scores.categories == {"color": 0.75, "shape": 0.0}


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_the_circular_score_is_never_above_the_vanilla_one(right: list[bool]) -> None:
    scores = aggregate(ROWS, np.array(right, dtype=float), np.ones(5), "accuracy")
    assert scores.circular is not None
    assert scores.circular <= scores.vanilla


def test_nothing_scored_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sample was scored"):
        aggregate([], np.zeros(0), np.zeros(0), "accuracy")


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_sample_that_comes_twice_is_in_the_table_once(batches: list[list[int]]) -> None:
    table = ScoreTable()
    for rows in batches:
        table.update(torch.tensor(rows), torch.tensor([[row / 3, -row] for row in rows]))
    rows = sorted({row for batch in batches for row in batch})
    torch.testing.assert_close(table.compute().float(), torch.tensor([[row / 3, -row] for row in rows]))


def _rank(rank: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    table = ScoreTable()
    for rows in [[[0, 2], [4]], [[1, 3, 0]]][rank]:  # unlike numbers of batches; row 0 pads
        table.update(torch.tensor(rows), torch.tensor([[float(row != 4), 1.0] for row in rows]))
    score, parsed = table.compute().numpy().T
    Path(folder, str(rank)).write_text(repr(aggregate(ROWS, score, parsed, "accuracy")))
    dist.destroy_process_group()


def test_two_ranks_agree_with_one_process(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [WARM.Process(target=_rank, args=(rank, port, str(tmp_path))) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    alone = aggregate(ROWS, np.array([1.0, 1, 1, 1, 0]), np.ones(5), "accuracy")
    assert {(tmp_path / rank).read_text() for rank in "01"} == {repr(alone)}


@pytest.mark.parametrize(
    ("prediction", "answers", "options", "expected"),
    [
        ("B", ("B",), ("x", "y"), (1.0, True)),
        ("y", ("B",), ("x", "y"), (1.0, True)),
        ("A", ("B",), ("x", "y"), (0.0, True)),
        ("neither", ("B",), ("left", "right"), (0.0, False)),
        ("The Cat.", ("cat",), (), (1.0, True)),
        ("two", ("2", "three"), (), (1.0, True)),
        ("cats", ("cat",), (), (0.0, True)),
        ("", ("cat",), (), (0.0, False)),
        ("the", ("a",), (), (0.0, True)),  # nothing is left of either in normal form
        ("A", ("A",), (), (1.0, True)),
        (" a ", ("A", "b"), (), (1.0, True)),
        ("?", ("?",), (), (1.0, True)),
        ("F", ("F",), tuple("uvwxyz"), (1.0, True)),
        ("(G)", ("F",), tuple("tuvwxyz"), (0.0, True)),
        ("F", ("B",), ("x", "y"), (0.0, False)),
    ],
)
def test_plain_scoring(
    prediction: str, answers: tuple[str, ...], options: tuple[str, ...], expected: tuple[float, bool]
) -> None:
    assert score_plain(prediction, answers, options) == expected


def test_word_overlap() -> None:
    assert token_f1("a red bus", "the red bus") == 1.0
    assert token_f1("red", "red bus") == pytest.approx(2 / 3)
    assert token_f1("blue car", "red bus") == 0.0
    assert token_f1("", "") == 1.0
    assert score_token_f1("", ("red",)) == (0.0, False)
    assert score_token_f1("red", ("blue", "red bus"))[0] == pytest.approx(2 / 3)


def test_a_headline_has_no_digits_of_float32() -> None:
    right = np.array([1.0] * 67 + [0.0] * 33, dtype=np.float32)
    scores = aggregate([sample(i, "") for i in range(100)], right, right, "accuracy")
    assert (scores.value, scores.vanilla, scores.unparsed_rate) == (0.67, 0.67, 0.33)
