"""Unusual image files: what a viewer shows, or one sentence with the file."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vovnet.data.pixels import FORMATS, MAX_PIXELS, NoImageError, shown, shown_size
from vovnet.data.sample import ImageRef
from vovnet.errors import VoVNetError

RED, WHITE, BLUE = (255, 0, 0), (255, 255, 255), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corner(mode: str = "RGB") -> Image.Image:
    """Red, 60 x 40, with a blue top left corner."""
    image = Image.new("RGB", (60, 40), RED)
    image.paste(BLUE, (0, 0, 20, 20))
    return image.convert(mode)


def close(color: object, wanted: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(color, wanted)).max() < 40)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["right.png", "wrong.txt"])
def test_the_content_tells_the_format(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(encoded(corner(), kind))
    image = ImageRef(name, tmp_path / name)
    assert image.load().mode == "RGB"
    assert image.load().size == image.size() == (60, 40)
    assert close(image.load().getpixel((50, 30)), RED)
    assert close(image.load().getpixel((5, 5)), BLUE)


# Where the stored top left corner is shown, by EXIF orientation: (right, bottom).
PLACES = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", PLACES)
def test_pictures_are_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    content = encoded(corner(), kind, exif=exif)
    image = shown(content)
    assert image.size == shown_size(content) == ((40, 60) if orientation > 4 else (60, 40))
    right, bottom = PLACES[orientation]
    assert close(image.getpixel((right * (image.width - 1), bottom * (image.height - 1))), BLUE)
    assert close(image.getpixel(((1 - right) * (image.width - 1), (1 - bottom) * (image.height - 1))), RED)


def test_damaged_exif_is_passed_over() -> None:
    content = encoded(corner(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert shown(content).size == shown_size(content) == (60, 40)


def palette(alpha: bool) -> bytes:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, *BLUE])
    image.putpixel((3, 3), 1)
    return encoded(image, **({"transparency": 0} if alpha else {}))


def gray16(kind: str) -> bytes:
    return encoded(Image.fromarray(np.array([[0, 32768], [65535, 257]], dtype=np.uint16)), kind)


def animated(kind: str) -> bytes:
    return encoded(Image.new("RGB", (8, 8), RED), kind, save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)])


@pytest.mark.parametrize(
    ("content", "place", "wanted"),
    [
        (encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), (0, 0), WHITE),
        (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), (0, 0), (255, 127, 127)),
        (encoded(Image.new("LA", (4, 4), (0, 0))), (0, 0), WHITE),
        (palette(alpha=True), (0, 0), WHITE),
        (palette(alpha=True), (3, 3), BLUE),
        (palette(alpha=False), (0, 0), RED),
        (gray16("PNG"), (0, 0), (0, 0, 0)),
        (gray16("PNG"), (1, 0), (128, 128, 128)),
        (gray16("PNG"), (0, 1), WHITE),
        (gray16("PNG"), (1, 1), (1, 1, 1)),
        (gray16("TIFF"), (1, 0), (128, 128, 128)),
        (gray16("PPM"), (1, 0), (128, 128, 128)),
        (animated("GIF"), (4, 4), RED),
        (animated("WEBP"), (4, 4), RED),
        (encoded(corner("CMYK"), "JPEG"), (50, 30), RED),
        (encoded(corner("CMYK"), "TIFF"), (50, 30), RED),
        (encoded(Image.new("1", (4, 4), 1)), (0, 0), WHITE),
        (encoded(Image.new("RGB", (1, 1), RED)), (0, 0), RED),
        (encoded(Image.new("RGB", (20_000, 20), RED)), (19_999, 19), RED),
    ],
)
def test_every_mode_becomes_what_a_viewer_shows(content: bytes, place: tuple[int, int], wanted: object) -> None:
    image = shown(content)
    assert image.size == shown_size(content)
    assert np.abs(np.subtract(image.getpixel(place), wanted)).max() <= 40 * (content[:2] == b"\xff\xd8") + 1


def bomb(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"no image at all", "no whole PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "no whole PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no whole PNG"),
        (encoded(corner())[:60], "cannot be"),
        (encoded(corner(), "JPEG")[:400], "cannot be"),
        (bomb(60_000, 60_000), "pixels"),
        (bomb(MAX_PIXELS // 100, 101), "more than 67,108,864"),
        (bomb(0, 5), "cannot be|no pixels"),
        (bomb(9, 9), "cannot be"),
        (encoded(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(np.full((2, 2), 70_000, dtype=np.int32)), "TIFF"), "more than 16 bits"),
        (encoded(Image.fromarray(np.full((2, 2), -1, dtype=np.int32)), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(VoVNetError, match=rf"^image .*x.png .*({problem}).*; replace it, or set dataset.on_error=skip"):
        ImageRef("x", path).load()


@pytest.mark.parametrize("name", ["none.png", ".", "a\0b", "x" * 300])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(VoVNetError, match=r"cannot be read \(.+\); replace it"):
        ImageRef("x", tmp_path / name).size()


SEEDS = [encoded(corner(), kind) for kind in FORMATS]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12), st.data())
def test_damaged_bytes_give_a_picture_or_a_reason(content: bytes, changes: list[tuple[int, int]], data) -> None:
    damaged = bytearray(content[: data.draw(st.integers(1, len(content)))])
    for place, value in changes:
        damaged[place % min(len(damaged), 200)] = value
    for read in (shown_size, shown):
        with contextlib.suppress(NoImageError):
            read(bytes(damaged))
