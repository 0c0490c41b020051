"""Whether a task's Python would ask a server: found by following the names that its functions use."""

import inspect
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

CLIENTS = (
    "openai", "requests", "httpx", "aiohttp", "urllib.request", "anthropic", "google.generativeai", "google.genai",
    "litellm", "dashscope", "azure", "lmms_eval.llm_judge", "lmms_eval.verifiers.openai",
)  # fmt: skip
OFFLINE = ("static", ("static_only",))  # constants by which lmms-eval asks for rules in the place of a judge


def asks_server(function: Any) -> str | None:
    """The client that a function reaches, by itself or through what it calls in its module; None where it reaches none.

    An approximation that reads names and runs nothing: a client that is named only in a text stays unseen.
    """
    todo, seen = [(inspect.unwrap(getattr(function, "func", function)), type(None))], set[Any]()
    while todo:
        part, owner = todo.pop()
        code = getattr(part, "__code__", None)
        if not isinstance(code, CodeType) or (code, owner) in seen:
            continue
        seen.add((code, owner))
        codes = list(_nested(code))
        if len(seen) == 1 and any(constant in OFFLINE for one in codes for constant in one.co_consts):
            return None  # the task's own function asks for rules; what it calls can do both
        used = {name for one in codes for name in one.co_names}
        for name in sorted(used):
            if client := _client(name):  # imported inside the function
                return client
            value = part.__globals__.get(name)
            if client := _client(value.__name__ if isinstance(value, ModuleType) else _module(value)):
                return client
            if inspect.isfunction(value):
                todo.append((value, type(None)))
            elif value is not None and not isinstance(value, ModuleType):
                kind = value if isinstance(value, type) else type(value)
                todo += [(method, kind) for method in _methods(kind, {*used, "__init__"})]
        todo += [(method, owner) for method in _methods(owner, used)]
    return None


def _nested(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _methods(kind: type, names: set[str]) -> list[Any]:
    found = (inspect.getattr_static(kind, name, None) for name in names)
    plain = (one.__func__ if isinstance(one, staticmethod | classmethod) else one for one in found)
    return [one for one in plain if inspect.isfunction(one)]


def _module(value: Any) -> str:
    own = value if isinstance(value, type) or inspect.isroutine(value) else type(value)
    return str(getattr(own, "__module__", ""))


def _client(module: str) -> str | None:
    return next((one for one in CLIENTS if module == one or module.startswith(f"{one}.")), None)
