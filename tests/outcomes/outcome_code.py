"""Which code makes an outcome, and the versions by which the store tells its results apart.

python -m tests.outcomes.outcome_code                      (after a version was raised)
python -m tests.outcomes.outcome_code --same-outcomes      (where the change is known to leave every outcome as it was)
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vovnet
from vovnet.outcomes.keys import CODE_VERSION, GENERIC_VERSION, INVARIANT_VERSION

FILE = Path(__file__).with_name("outcome_code.json")
ROOT = Path(vovnet.__file__).parent
# From an image and a question to the rows of a branch. Scorers have versions of their own, and of what the libraries
# make of images and texts the keys hold digests.
SOURCES = ("outcomes/branches.py", "outcomes/looks.py", "data/__init__.py", "data/pixels.py", "vlm/**/*.py")
# Under vlm/: what finds, checks and describes models, and trains nothing and answers nothing.
BESIDE = ("facts", "files", "kept", "imported", "agreement", "probe", "check", "random_weights", "flops", "__init__")


def modules() -> dict[str, str]:
    """A digest of what each module does: of its syntax, without comments, docstrings and layout."""
    paths = sorted(path for pattern in SOURCES for path in ROOT.glob(pattern))
    kept = (path for path in paths if path.stem not in BESIDE or path.parent.name == "data")
    return {path.relative_to(ROOT).as_posix(): digest(path.read_text(encoding="utf-8")) for path in kept}


def digest(source: str) -> str:
    """Of a module's syntax; the same in every version of Python that this project runs with."""
    return hashlib.sha256("\n".join(_walk(ast.parse(source))).encode()).hexdigest()[:16]


def _walk(node: ast.AST) -> Iterator[str]:
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        if name in ("kind", "type_comment", "type_params", "annotation", "returns"):
            continue
        if name == "body" and isinstance(value, list) and value and _is_text(value[0]):
            value = value[1:]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                yield from _walk(one)
            elif one is not None:
                yield f"{name}={one!r}"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def versions() -> dict[str, Any]:
    """Those that a person raises when outcomes change."""
    return {**CODE_VERSION, "generic": GENERIC_VERSION, "batch_invariant": INVARIANT_VERSION}


def unversioned(recorded: dict[str, Any]) -> list[str]:
    """Modules that do something else than recorded, where no version has been raised since."""
    now, before = modules(), recorded["modules"]
    changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
    return changed if versions() == recorded["versions"] else []


def main(arguments: list[str]) -> None:
    """Write the record anew."""
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {"modules": {}, "versions": {}}
    if (changed := unversioned(recorded)) and arguments != ["--same-outcomes"]:
        sys.exit(
            f"{', '.join(changed)} changed and no version did; raise one in vovnet/outcomes/keys.py, or say that every "
            "outcome stays as it was by --same-outcomes."
        )
    FILE.write_text(json.dumps({"versions": versions(), "modules": modules()}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
