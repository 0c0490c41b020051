"""Commands that tests start import torchvision too, whatever build of torch is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.families.beside import has_torchvision

pytestmark = pytest.mark.skipif(not has_torchvision(), reason="test_beside.py runs it beside torchvision")

PATHS = os.pathsep.join([str(Path(__file__).parent / "site"), os.environ.get("PYTHONPATH", "")])
CODE = "import torch, torchvision.transforms.v2.functional as f; print(f.resize(torch.ones(3, 8, 8), [4, 2]).shape)"


def test_a_command_imports_torchvision_with_the_folder_on_its_path() -> None:
    environment = {**os.environ, "PYTHONPATH": PATHS}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "torch.Size([3, 4, 2])"), done.stderr


def test_a_command_that_needs_no_torchvision_loads_no_torch() -> None:
    code = "import sys; print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": PATHS}

    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "False"
