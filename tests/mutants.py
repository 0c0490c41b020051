"""Mutation testing of scoring, costs and decisions: does some test fail when a line is wrong?

    python -m tests.mutants                       all modules; about half an hour on one core
    python -m tests.mutants vovnet/policy/decide.py

Each mutant is one changed operator, comparison, constant or condition, run in a forked process against the module's
own tests. Survivors are printed; those that change nothing that can be seen are explained in ``EXPLAINED``.
"""

import ast
import importlib.abc
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "vovnet/policy/decide.py": ["tests/policy/test_decide.py"],
    "vovnet/outcomes/routed.py": ["tests/policy/test_baselines.py", "tests/policy/test_route.py", "tests/results"],
    "vovnet/policy/random_matched.py": ["tests/policy/test_baselines.py"],
    "vovnet/policy/steps.py": ["tests/policy/test_steps.py"],
    "vovnet/policy/objective.py": ["tests/policy/test_objective.py"],
    "vovnet/vlm/budget.py": ["tests/vlm/test_budget.py"],
    "vovnet/results/row.py": ["tests/results/test_metrics.py"],
    "vovnet/scoring/open_answers.py": ["tests/scoring"],
    "vovnet/scoring/choices.py": ["tests/scoring/test_multiple_choice.py", "tests/scoring/test_evaluators.py"],
    "vovnet/scoring/mmmu.py": ["tests/scoring/test_multiple_choice.py"],
    "vovnet/scoring/official.py": ["tests/scoring/test_official.py"],
    "vovnet/scoring/reasoning.py": ["tests/scoring/test_reasoning.py"],
    "vovnet/policy/module.py": ["tests/scoring/test_official.py"],
    "vovnet/scoring/textvqa.py": ["tests/scoring/test_textvqa.py"],
}
# Mutants that no test can kill, by module and beginning of the source line, and why.
EXPLAINED = {
    ("vovnet/policy/module.py", "full_state_update = False"): "of torchmetrics: speed only",
    ("vovnet/scoring/official.py", "units[unit] = min("): "the other side of the minimum is 0 or 1",
    ("vovnet/scoring/mmmu.py", "if word in line and"): "two tails of one line that are equally long are the same text",
    ("vovnet/scoring/mmmu.py", "texts = {letter:"): "letters are made for the options",
    (
        "vovnet/results/row.py",
        "if distinct > 1 and",
    ): "the bound is anywhere between rounding and a real difference",
    ("vovnet/results/row.py", "return max(0.0, min("): "above 1 by rounding only",
    ("vovnet/vlm/budget.py", "if TYPE_CHECKING:"): "import time only",
    ("vovnet/outcomes/routed.py", "if self.earlier is not None"): "both are there or neither is",
}
LIMIT = 120  # seconds a mutant may take; it is killed by then, as an endless loop is

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[tuple[str, object, object]]:
    """Field, value and other value of each single change to a node."""
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
        yield "op", node.op, SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in SWAPS:
                yield "ops", node.ops, [*node.ops[:place], SWAPS[type(operator)](), *node.ops[place + 1 :]]
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield "value", node.value, (not node.value) if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "test", node.test, ast.UnaryOp(ast.Not(), node.test)


def mutants(source: str) -> Iterator[tuple[int, str]]:
    """Line number and source of each mutant."""
    tree = ast.parse(source)
    skipped = {id(part) for node in ast.walk(tree) for d in getattr(node, "decorator_list", ()) for part in ast.walk(d)}
    for node in (node for node in ast.walk(tree) if id(node) not in skipped):
        for name, value, other in changes(node):
            setattr(node, name, other)
            yield node.lineno, ast.unparse(ast.fix_missing_locations(tree))  # type: ignore[attr-defined]
            setattr(node, name, value)


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from other source."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def get_source(self, name: str) -> str:
        return self.source


def survives(name: str, source: str, tests: list[str]) -> bool:
    """Whether all tests pass with the module's other source."""
    child = os.fork()
    if child == 0:
        import pytest

        signal.alarm(LIMIT)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.meta_path.insert(0, Mutated(name, source))
        arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not slow", *tests]
        os._exit(int(pytest.main(arguments)) != 0)
    _, status = os.waitpid(child, 0)
    return status == 0


def main(asked: list[str]) -> int:
    """Print survivors of the modules; 1 if one is not explained."""
    import hypothesis  # noqa: F401  (loaded once, before the forks)
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    unexplained = 0
    for file in asked or TESTS:
        source = (ROOT / file).read_text()
        lines, name = source.splitlines(), file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        if not survives(name, source, TESTS[file]):
            raise SystemExit(f"{file}: its tests fail without any change")
        killed = count = 0
        for line, other in mutants(source):
            count += 1
            if not survives(name, other, TESTS[file]):
                killed += 1
                continue
            text = lines[line - 1].strip()
            why = next(
                (w for (module, begin), w in EXPLAINED.items() if module == file and text.startswith(begin)), None
            )
            unexplained += why is None
            whole = ast.unparse(ast.parse(source)).splitlines()
            changed = next((b for a, b in zip(whole, other.splitlines(), strict=False) if a != b), "").strip()
            print(f"  {file}:{line}: {text}\n    -> {changed}\n    {why or 'NOT EXPLAINED'}", flush=True)
        print(f"{file}: {killed} of {count} mutants killed", flush=True)
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
