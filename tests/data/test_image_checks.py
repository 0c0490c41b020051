"""Broken images are found once: later openings know them, until a file changes."""

import shutil
from pathlib import Path

import pytest

from vovnet.data import rows
from vovnet.data.rows import RowErrors, without_broken_images
from vovnet.data.sample import ImageRef, Sample


@pytest.fixture
def samples(easy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """Four questions about images of their own, the second of which is cut short."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(4):
        shutil.copyfile(easy_data / f"test/images/{number}.png", tmp_path / f"{number}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    return [Sample(path.stem, "Which?", (ImageRef(str(path), path),), ("x",), path.stem, "") for path in paths]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Images that are decoded, as it happens."""
    seen: list[Path] = []
    load = ImageRef.load
    monkeypatch.setattr(ImageRef, "load", lambda image: (seen.append(image.path), load(image))[1])
    return seen


def usable(samples: list[Sample], settled: float = 0.0) -> tuple[list[str], list[str]]:
    errors = RowErrors("skip")
    return [sample.id for sample in without_broken_images(samples, errors, settled)], errors.skipped


def test_they_are_decoded_once(samples: list[Sample], decoded: list[Path]) -> None:
    first = usable(samples)
    assert first[0] == ["0", "2", "3"]
    assert "1.png" in first[1][0]
    assert len(decoded) == 4
    assert usable(samples) == first
    assert [path.name for path in decoded[4:]] == ["1.png"]  # a disk may have failed for a moment


def test_a_file_that_changed_is_looked_at_again(samples: list[Sample], decoded: list[Path]) -> None:
    usable(samples)
    shutil.copyfile(samples[0].images[0].path, samples[1].images[0].path)
    assert usable(samples)[0] == ["0", "1", "2", "3"]
    assert len(decoded) == 8


def test_what_could_not_be_read_for_a_moment_comes_back(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as failing:
        failing.setattr(ImageRef, "problem", lambda image: "cannot be read" if image.path.stem in "13" else "")
        assert usable(samples)[0] == ["0", "2"]
    assert usable(samples)[0] == ["0", "2", "3"]


def test_other_images_or_rules_ask_anew(
    samples: list[Sample], decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usable(samples)
    assert usable(samples[:3])[0] == ["0", "2"]
    monkeypatch.setattr(rows, "RULES", rows.RULES + 1)
    usable(samples)
    assert len(decoded) == 4 + 3 + 4


def test_a_file_of_this_moment_or_none_is_not_remembered(samples: list[Sample], decoded: list[Path]) -> None:
    usable(samples, settled=3600.0)
    usable(samples, settled=3600.0)
    assert len(decoded) == 8
    samples[2].images[0].path.unlink()
    assert usable(samples)[0] == ["0", "3"]
