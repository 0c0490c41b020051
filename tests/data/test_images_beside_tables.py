"""Image files beside a table: found by any name that stays inside the folder, and by no other."""

import os
from pathlib import Path

import pytest

from vovnet.data.images import ImagesBeside


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with images in a folder that is a link, one file outside, and links to both."""
    real = tmp_path / "elsewhere"
    (real / "deep").mkdir(parents=True)
    for place in (real / "a.png", real / "deep/b.png", tmp_path / "outside.png"):
        place.touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").symlink_to(real)
    (real / "inside-link.png").symlink_to(real / "a.png")
    (real / "leads-out.png").symlink_to(tmp_path / "outside.png")
    (real / "folder-out").symlink_to(tmp_path)
    return tmp_path / "set/table.jsonl"


@pytest.mark.parametrize("name", ["a.png", "deep/b.png", "deep/../a.png", "inside-link.png", "./a.png"])
def test_what_stays_inside_is_found_once(table: Path, name: str) -> None:
    images = ImagesBeside(table, ("nothing", "images"))
    found = images.find(name)
    assert found is not None
    assert found.path.is_file()
    assert images.find(name) is found


def test_an_absolute_name_may_lead_inside(table: Path) -> None:
    inside = os.path.realpath(table.parent / "images/a.png")
    assert ImagesBeside(table, ("images",)).find(inside) is not None


@pytest.mark.parametrize(
    "name",
    ["leads-out.png", "folder-out/outside.png", "../outside.png", "../../outside.png", "missing.png", "", ".", "deep",
     "a\0.png", "x" * 300, "\ud800.png"],
)  # fmt: skip
def test_what_leads_out_or_is_no_file_is_not(table: Path, name: str) -> None:
    assert ImagesBeside(table, ("images",)).find(name) is None


def test_an_absolute_name_outside_is_not_followed(table: Path, tmp_path: Path) -> None:
    assert ImagesBeside(table, ("images",)).find(str(tmp_path / "outside.png")) is None
