"""The tests of the shrunken checkpoints, in a process that has torchvision, which most of the real processors need."""

from pathlib import Path

import pytest

from tests.families import beside

HERE = Path(__file__).parent


@pytest.mark.skipif(beside.has_torchvision(), reason="this process runs them itself")
@pytest.mark.parametrize("name", ["test_factory.py", "test_torchvision_ops.py"])
def test_they_pass_beside_torchvision(name: str) -> None:
    done = beside.run("-m", "pytest", "-p", "no:cacheprovider", str(HERE / name))
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout
