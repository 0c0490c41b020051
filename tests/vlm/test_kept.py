"""Prepared images that are kept."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from vovnet.vlm.kept import Kept


@given(keys=st.lists(st.integers(0, 5), max_size=40), limit=st.integers(0, 6))
def test_the_youngest_are_kept_up_to_the_limit(keys: list[int], limit: int) -> None:
    kept, used = Kept[str](limit), list[int]()
    for key in keys:
        used = [*(one for one in used if one != key), key]
        kept.put(key, str(key), 1)
        used = used[max(0, len(used) - limit) :]
        assert all(kept.get(one) == str(one) for one in used)
    assert all(kept.get(key) is None for key in set(keys) - set(used))


def test_what_is_asked_for_stays_longer() -> None:
    kept = Kept[str](2)
    kept.put("a", "A", 1)
    kept.put("b", "B", 1)
    kept.get("a")
    kept.put("c", "C", 1)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("A", None, "C")


def test_a_copy_in_another_process_is_empty() -> None:
    kept = Kept[str](2)
    kept.put("a", "A", 1)
    other = copy.copy(kept)  # by the same state as a pickle's
    assert (other.limit, other.get("a")) == (2, None)
    kept.clear()
    assert kept.get("a") is None
