"""What was done to samples survives a file that holds arrays only."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from vovnet.actions import Action
from vovnet.outcomes.routed import Course, Piece, Routed, read_routed, route, write_routed
from vovnet.outcomes.rows import BranchOutcomes, no_text
from vovnet.outcomes.units import Tokens


def outcomes(size: int, **own: np.ndarray) -> BranchOutcomes:
    columns = {f.name: np.arange(size) for f in fields(BranchOutcomes) if f.name != "hidden"}
    texts = np.array(["a\u2028b", None, "", "\U0001f600"][:size], dtype=object)
    return BranchOutcomes(**columns | {"prediction": texts, "answer": texts, "parsed": np.arange(size) > 0} | own)


def same(one: Routed, other: Routed) -> bool:
    pairs = [
        (getattr(one, f.name), getattr(other, f.name))
        for f in fields(Routed)
        if f.name not in ("chosen", "earlier", "menu")
    ]
    looks = [
        (one.chosen, other.chosen),
        *((a.outcomes, b.outcomes) for a, b in zip(one.earlier, other.earlier, strict=True)),
    ]
    for a, b in looks:
        pairs += [(getattr(a, f.name), getattr(b, f.name)) for f in fields(BranchOutcomes)]
    return all((a is None and b is None) or np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    pieces = [Piece(Action.COARSE, np.arange(4), outcomes(4)), Piece(Action.FULL, np.array([1, 3]), outcomes(2))]
    menu = (Action.NO, Action.COARSE, Action.of(32, ("merge", 0.75)), Action.FULL)
    course = Course(np.array([1, 2, 1, 2]), pieces, np.ones((4, 3)), None, menu)
    routed = route(course, no_text(4), Tokens(16), reads_text=False)
    write_routed(tmp_path / "routed.npz", routed, 12.5)
    found, memory = read_routed(tmp_path / "routed.npz")
    assert memory == 12.5
    assert same(routed, found)
    assert [look.content for look in found.menu] == [look.content for look in menu]
    assert found.earlier[0].rows.tolist() == [1, 3]
    assert found.chosen.answer.tolist() == routed.chosen.answer.tolist()
