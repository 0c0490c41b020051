#!/usr/bin/env bash
# with_format("numpy") and with_format("torch") give a palette image as numbers of colours, not as colours.
#
# Versions: datasets 5.2.0, pillow 13.0.0, numpy 2.4.6, pyarrow 26.0.1.
# Behaviour: the formatter takes the array of the decoded picture in the picture's own mode. A PNG with a palette becomes a
#   plane of indices of uint8, a black-and-white one a plane of booleans, one with 16 bits a plane of uint16.
# Why it surprises: the same row without a format is a PIL image that every processor turns into RGB. With a format the
#   palette is gone, and the plane looks like a grey picture: shape and dtype are those of a JPEG in grey, which no
#   processor refuses. Image(mode="RGB") in the features gives colours in both ways.
# Whom it hurts: charts, diagrams and screenshots in benchmarks are often stored with a palette. Red and blue become 0 and 1
#   of 255, so the model sees black, and only in the rows that happen to be stored like this.
# Output seen (a picture half red, half blue):
#   PIL, RGB: left (255, 0, 0), right (0, 0, 255)
#   numpy, stored as RGB: shape (8, 8, 3), left [255, 0, 0], right [0, 0, 255]
#   numpy, stored with a palette: shape (8, 8), left 0, right 1
#   numpy, palette, Image(mode="RGB"): shape (8, 8, 3), left [255, 0, 0], right [0, 0, 255]
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q datasets==5.2.0 pillow==13.0.0 numpy==2.4.6 pyarrow==26.0.1 2>/dev/null
HF_HOME=$place HF_HUB_OFFLINE=1 "$place/venv/bin/python" -W ignore - <<'PY'
import io

from datasets import Dataset, Features, Image
from PIL import Image as Picture

rgb = Picture.new("RGB", (8, 8), (255, 0, 0))
rgb.paste((0, 0, 255), (4, 0, 8, 8))
palette = Picture.new("P", (8, 8), 0)
palette.putpalette([255, 0, 0, 0, 0, 255])
palette.paste(1, (4, 0, 8, 8))
assert palette.convert("RGB").tobytes() == rgb.tobytes()


def stored(picture, mode=None):
    file = io.BytesIO()
    picture.save(file, "PNG")
    rows = {"image": [{"bytes": file.getvalue(), "path": None}]}
    return Dataset.from_dict(rows, features=Features({"image": Image(mode=mode)}))


def seen(dataset):
    array = dataset.with_format("numpy")[0]["image"]
    return f"shape {array.shape}, left {array[0, 0].tolist()}, right {array[0, -1].tolist()}"


usual = stored(palette)[0]["image"].convert("RGB")
print(f"PIL, RGB: left {usual.getpixel((0, 0))}, right {usual.getpixel((7, 0))}")
print("numpy, stored as RGB:", seen(stored(rgb)))
print("numpy, stored with a palette:", seen(stored(palette)))
print('numpy, palette, Image(mode="RGB"):', seen(stored(palette, "RGB")))
assert seen(stored(palette)) == "shape (8, 8), left 0, right 1" and usual.tobytes() == rgb.tobytes()
PY
