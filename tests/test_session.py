"""A session makes each thing once, keeps the last ones, and shares nothing with another session."""

from vovnet.session import Session


def test_a_thing_is_made_once_for_each_key() -> None:
    session, made = Session(), list[str]()
    for key in ("a", "a", "b", "b", "a"):
        session.once("kind", key, lambda key=key: made.append(key) or key.upper(), keep=2)  # type: ignore[misc]
    assert made == ["a", "b"]


def test_the_least_recently_used_is_dropped_before_another_is_made() -> None:
    session, alive = Session(), set[str]()

    class Thing:
        def __init__(self, name: str) -> None:
            assert len(alive) < 2
            self.name = name
            alive.add(name)

        def __del__(self) -> None:
            alive.discard(self.name)

    for name in ("a", "b", "a", "c"):
        session.once("thing", name, lambda name=name: Thing(name), keep=2)  # type: ignore[misc]
    assert alive == {"a", "c"}


def test_kinds_and_sessions_are_apart() -> None:
    one, other = Session(), Session()
    assert [one.once("x", 1, lambda: "x"), one.once("y", 1, lambda: "y"), other.once("x", 1, lambda: "z")] == [
        "x",
        "y",
        "z",
    ]
