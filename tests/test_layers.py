"""Which module may import which: no circles, and nothing from a layer above."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vovnet

ROOT = Path(vovnet.__file__).parent
# Modules and packages of vovnet/, the lowest layer first; a module that is named itself may lie below its package. A
# layer imports from itself and from those before it.
LAYERS = (
    "actions errors fingerprint files garbage jobs locks options provenance rank_errors ranks registry secrets session "
    "terminal",
    "schema",
    "arguments compose explain needs lightning_parts rank_launch sweep_batch sweep_jobs",
    "data metrics scoring",
    "vlm",
    "outcomes",
    "policy",
    "no_effect sweep_folder",
    "results.columns",
    "checks",
    "analyses results",
    "report",
    "cluster",
    "training",
    "preflight",
    "command launch plugins stages",
    "api",
    "serve",
)
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names.split()}

Graph = dict[str, set[str]]


def imports(root: Path) -> Graph:
    """Modules of a package, each with those that it imports: in functions and for type checkers too."""
    paths = {_name(path.relative_to(root)): path for path in root.rglob("*.py")}
    found = dict[str, set[str]]()
    for name, path in paths.items():
        targets = _targets(ast.parse(path.read_text(encoding="utf-8")), root.name)
        found[name] = {module for target in targets if (module := _module(target, paths)) is not None} - {name}
    return found


@cache
def own() -> Graph:
    """Of this package; tests change nothing of it."""
    return imports(ROOT)


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def _module(target: str, known: dict[str, Path]) -> str | None:
    """The module that a dotted name is, or lies in."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in known), None)


def _targets(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names under a package that its code imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (one.name.removeprefix(f"{package}.") for one in node.names if one.name.startswith(package))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            module = str(node.module).removeprefix(package).removeprefix(".")
            yield from (f"{module}.{one.name}".removeprefix(".") for one in node.names)
        else:
            yield from _targets(node, package)


def circle(graph: Graph) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def upward(graph: Graph) -> list[tuple[str, str]]:
    """Imports of a module in a higher layer."""
    return [(one, other) for one, others in graph.items() for other in sorted(others) if _layer(other) > _layer(one)]


def _layer(module: str) -> int:
    if not module:
        return len(LAYERS)  # the package itself offers what all others hold
    return LAYER_OF[module] if module in LAYER_OF else LAYER_OF[module.split(".")[0]]


def test_no_module_imports_itself_through_others() -> None:
    assert circle(own()) == []


def test_every_import_goes_to_the_same_layer_or_down() -> None:
    assert upward(own()) == []


def test_every_module_has_a_layer() -> None:
    modules = own().keys()
    assert {name.split(".")[0] for name in modules} - {""} == {name for name in LAYER_OF if "." not in name}
    assert {name for name in LAYER_OF if "." in name} <= modules


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import vovnet.results.row", {"results.row"}),
        ("from vovnet.results import row", {"results.row"}),
        ("from vovnet.results.row import ResultRow", {"results.row"}),
        ("def late():\n    from vovnet.results.row import ResultRow", {"results.row"}),
        ("try:\n    import vovnet.results.row\nexcept ImportError: ...", {"results.row"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    from vovnet.results import row", {"results.row"}),
        ("import vovnetting.results.row, numpy", set()),
    ],
)
def test_imports_are_seen_wherever_they_are(code: str, seen: set[str], tmp_path: Path) -> None:
    root = tmp_path / "vovnet"
    (root / "results").mkdir(parents=True)
    (root / "results/row.py").touch()
    (root / "schema.py").write_text(code)
    graph = imports(root)
    assert graph["schema"] == seen
    assert [pair[1] for pair in upward(graph)] == sorted(seen)
    graph["results.row"] = {"schema"}
    assert bool(circle(graph)) == bool(seen)


def test_one_family_is_known_where_it_is_meant() -> None:
    """Of all that imports Qwen's package: the packaged model's recipe."""
    users = {name for name, targets in own().items() if any(target.startswith("vlm.qwen") for target in targets)}
    others = {name for name in users if not name.startswith("vlm.qwen")}
    assert others == set()
