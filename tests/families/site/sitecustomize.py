"""With this folder on PYTHONPATH, commands that tests start can import torchvision too."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "torchvision_ops.py"))
