"""A split is opened once while its files stay as they are, and anew when one changes."""

import os
import time
from pathlib import Path

from tests.conftest import Configure
from vovnet.data import load_dataset


def test_a_split_is_kept_until_a_file_of_it_changes(configure: Configure, easy_data: Path) -> None:
    config = configure().dataset
    old = time.time() - 60
    for path in [*easy_data.rglob("*"), easy_data]:
        os.utime(path, (old, old))
    first = load_dataset(config, "test")
    assert load_dataset(config, "test") is first
    image = next((easy_data / "test/images").iterdir())
    content = image.read_bytes()
    try:
        image.write_bytes(content + b"\0")
        changed = load_dataset(config, "test")
        assert changed.fingerprint != first.fingerprint
        assert load_dataset(config, "test") is not changed  # changed a moment ago, so not trusted yet
    finally:
        image.write_bytes(content)
