"""Questions that the user's own code reads are checked as those of a file are."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vovnet
from vovnet.errors import VoVNetError

ROWS: list[Any] = []


def rows(config: Any, split: str) -> Iterator[Any]:
    yield from ROWS


def fails(config: Any, split: str) -> list[Any]:
    return [1 / 0]


@pytest.fixture
def sample(tmp_path: Path) -> vovnet.Sample:
    """A question that can be asked."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    return vovnet.Sample("0", "what?", (vovnet.ImageRef("a", tmp_path / "a.png"),), ("red",), "a", "colour")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The set of some rows."""

    def opened(*given: Any, **options: Any) -> Any:
        monkeypatch.setitem(globals(), "ROWS", list(given))
        return vovnet.load_dataset("jsonl", name="mine", reader=rows, scorer="plain", **options).split("test")

    return opened


def test_samples_come_in_the_readers_order(read: Callable[..., Any], sample: vovnet.Sample) -> None:
    found = read(sample, replace(sample, id="1"))
    assert (found.name, [found[row].id for row in range(len(found))], found.metric) == ("mine", ["0", "1"], "plain")


def test_the_fingerprint_is_of_texts_and_images(read: Callable[..., Any], sample: vovnet.Sample) -> None:
    prints = {read(replace(sample, **{name: value})).fingerprint for name, value in [
        ("question", "what?"), ("question", "who?"), ("answers", ("blue",)), ("options", ("a", "b")), ("hint", "look"),
    ]}  # fmt: skip
    Image.new("RGB", (8, 8), "blue").save(sample.images[0].path)
    assert len(prints | {read(sample).fingerprint}) == 6


BAD: list[tuple[Callable[[vovnet.Sample], Any], str]] = [
    (lambda one: {"id": "1"}, "a dict, no vovnet.Sample"),
    (lambda one: replace(one, id="1", question=" "), "its question is empty"),
    (lambda one: replace(one, id="1", answers=()), "there is no answer"),
    (lambda one: replace(one, id="1", answers=("", " ")), "there is no answer"),
    (lambda one: replace(one, id="1", images=()), "its images are no ImageRef"),
    (lambda one: replace(one, id="1", images=("a.png",)), "its images are no ImageRef"),
    (lambda one: replace(one, id="1", answers=(3,)), "is no text"),
    (lambda one: replace(one, id=1), "is no text"),
    (lambda one: one, "0"),  # the same id again
]


@pytest.mark.parametrize(("spoil", "sentence"), BAD, ids=range(len(BAD)))
def test_an_unusable_row_is_refused_or_left_out(
    spoil: Callable[[vovnet.Sample], Any], sentence: str, read: Callable[..., Any], sample: vovnet.Sample
) -> None:
    with pytest.raises(VoVNetError, match=sentence):
        read(sample, spoil(sample))
    left = read(sample, spoil(sample), on_error="skip")
    assert (len(left), len(left.skipped)) == (1, 1)


def test_a_reader_that_fails_or_gives_nothing_is_named(read: Callable[..., Any]) -> None:
    with pytest.raises(VoVNetError, match=r"test_outside\.rows gives no question of test"):
        read()
    with pytest.raises(VoVNetError, match=r"test_outside\.fails fails on dataset=mine \(ZeroDivisionError"):
        vovnet.load_dataset("jsonl", name="mine", reader=fails, scorer="plain").split("test")


def test_an_image_that_is_not_there_is_named(read: Callable[..., Any], sample: vovnet.Sample) -> None:
    sample.images[0].path.unlink()
    with pytest.raises(VoVNetError, match=r"a\.png"):
        read(sample)
