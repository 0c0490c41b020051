"""Let torchvision import beside a build of torch that its compiled part does not fit.

PyPI's torchvision is a CUDA build; beside the CPU build of torch its library does not load, and `import torchvision`
raises because two operators are missing that its Python part registers shapes for. Processors need the Python part
only. Importing this module is cheap (no torch) and idempotent; where torchvision's own library loads, nothing changes.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

MISSING = ("nms", "qnms")
_kept: list[object] = []  # torch.library forgets what nobody holds


def declare(folder: Path) -> None:
    """Load the library in torchvision's `folder`, or declare the operators that it would have brought."""
    import torch

    for library in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(library)
            return
        except OSError:
            continue
    operators = torch.library.Library("torchvision", "FRAGMENT")
    for name in MISSING:
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(operators)


class TorchvisionFinder:
    """Declares the operators at the moment when somebody imports torchvision for the first time."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "torchvision" and not _kept:
            spec = PathFinder.find_spec(name)
            if spec is not None and spec.origin is not None:
                declare(Path(spec.origin).parent)
        return None


if not any(getattr(finder, "__name__", "") == TorchvisionFinder.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, TorchvisionFinder)
