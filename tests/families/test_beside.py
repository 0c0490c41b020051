"""The tests of the shrunken checkpoints, in a process that has torchvision, which most of the real processors need."""

from pathlib import Path

import pytest

from tests.families import beside

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(beside.has_torchvision(), reason="this process runs them itself")
def test_they_pass_beside_torchvision() -> None:
    files = [str(HERE / name) for name in ("test_factory.py", "test_torchvision_ops.py")]
    done = beside.run("-m", "pytest", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout
