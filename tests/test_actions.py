"""Looks of one's own: what they are called and numbered follows from what they show."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.actions import ACTION_SPACES, USUAL, Action, name_of, named, number_of
from vovnet.outcomes.rows import places
from vovnet.outcomes.store import NAME

CONTENTS = st.fixed_dictionaries(
    {"long_side": st.integers(1, 5000)},
    optional={
        "merge": st.floats(0.001, 1.0),
        "processor": st.dictionaries(st.sampled_from("ab"), st.booleans(), min_size=1),
    },
)


@given(CONTENTS)
def test_a_look_is_what_it_says(content: dict[str, object]) -> None:
    look = Action.said(content)
    assert look.content == content
    assert NAME.fullmatch(look.label)
    assert int(look) == number_of(look.label) > int(Action.FULL)
    for again in (pickle.loads(pickle.dumps(look)), copy.deepcopy(look)):  # noqa: S301 our own
        assert (again, again.label, again.content) == (look, look.label, content)


@given(CONTENTS, CONTENTS)
def test_looks_that_differ_have_other_labels(one: dict[str, object], other: dict[str, object]) -> None:
    assert (Action.said(one).label == Action.said(other).label) == (one == other)


def test_labels_and_numbers_are_the_same_in_every_process() -> None:
    assert Action.of(64, ("merge", 0.75)).label == "side64_merge75"
    assert Action.of(pruning=("pool", 0.125)).label == "pool12_5"
    code = "from vovnet.actions import Action; print(int(Action.of(64, ('merge', 0.75))))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(there.stdout) == int(Action.of(64, ("merge", 0.75)))


def test_the_usual_looks_are_numbers_as_ever() -> None:
    assert [int(look) for look in USUAL] == [0, 1, 2]
    assert [Action(number) for number in (0, 1, 2)] == list(USUAL)
    assert pickle.loads(pickle.dumps(Action.FULL)) is Action.FULL  # noqa: S301 our own
    assert np.where([True, False], Action.NO, Action.FULL).tolist() == [0, 2]
    assert (str(Action.FULL), repr(Action.FULL)) == ("2", "Action.FULL")
    assert {*ACTION_SPACES} == {"ternary", "binary"}


def test_what_is_no_look_is_refused() -> None:
    with pytest.raises(ValueError, match="99 is none of NO, COARSE and FULL"):
        Action(99)
    with pytest.raises(ValueError, match="needs long_side, a pruning or processor options"):
        Action.said({})
    with pytest.raises(ValueError, match="'fine' is none of no, coarse, full"):
        named("fine")


def test_actions_have_places_in_a_menu() -> None:
    menu = (Action.NO, Action.of(32), Action.COARSE, Action.FULL)
    chosen = np.array([int(menu[3]), int(menu[1]), 0, 1])
    assert places(menu, chosen).tolist() == [3, 1, 0, 2]
    assert name_of(menu) == "no-side32-coarse-full"
    with pytest.raises(ValueError, match="is none of no, full"):
        places(ACTION_SPACES["binary"], chosen)
