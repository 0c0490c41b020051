"""Parts that others add: a data set reader, a scorer, a policy, an objective, a metric, a part of the report.

A part is found in one of three ways: by name after ``register(kind, name)``, by name from the entry-point group
``vovnet`` of an installed package (an entry point is called ``KIND.NAME``), or by ``_target_: package.module.Class`` in
a YAML file of one's own. Only a composed configuration may name code so: what comes with a file never does.
"""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from vovnet.errors import VoVNetError, first_line

KINDS = ("dataset", "scorer", "policy", "objective", "vlm", "metric", "report_part")
TARGET = "_target_"  # key of a YAML file that names a class or function
OUTSIDE = "vovnet.policy.trained.outside"  # reads the options of policies that are not of this package
GROUP = "vovnet"  # of entry points
TRUSTED = {"may name code": True}  # validation context of a configuration that the user has composed

# The policies of this package, by name. Written as texts: a configuration is checked without importing all of them.
POLICIES = {
    "": "vovnet.policy.trained.Trained",
    **dict.fromkeys(("always_full", "always_coarse", "no_vision"), "vovnet.policy.fixed.Fixed"),
    "always_look": "vovnet.policy.fixed.AlwaysLook",
    "uncertainty_threshold": "vovnet.policy.uncertainty.UncertaintyThreshold",
    "random_policy_matched": "vovnet.policy.random_matched.RandomMatched",
    "vision_token_pruning_proxy": "vovnet.policy.fixed.TokenPruning",
    "resolution_scaling": "vovnet.policy.fixed.ResolutionScaling",
    "oracle": "vovnet.policy.oracle.Oracle",
    "cascade": "vovnet.policy.uncertainty.Cascade",
}

Part = TypeVar("Part")
_REGISTERED: dict[tuple[str, str], Any] = {}


def register(kind: str, name: str) -> Callable[[Part], Part]:
    """Decorate a class or function so that a configuration finds it by name.

    Args:
        kind: one of ``KINDS``.

    Raises:
        VoVNetError: there is no such kind, or another part has this name.
    """
    if kind not in KINDS:
        raise VoVNetError(f"there are no parts of the kind {kind!r}; choose one of {', '.join(KINDS)}.")

    def keep(part: Part) -> Part:
        known = _REGISTERED.get((kind, name))
        # A notebook runs its cells again: the same definition replaces itself.
        if (kind == "policy" and name in POLICIES) or (known is not None and path_of(known) != path_of(part)):
            raise VoVNetError(f"{kind} {name!r} exists already; register {path_of(part)} under another name.")
        _REGISTERED[kind, name] = part
        return part

    return keep


def find(kind: str, name: str) -> Any:
    """The part that was registered or installed under a name; None where there is none.

    Raises:
        VoVNetError: its package cannot be imported.
    """
    if (kind, name) in _REGISTERED:
        return _REGISTERED[kind, name]
    if (entry := _installed().get(f"{kind}.{name}")) is None:
        return None
    try:
        return entry.load()
    except Exception as error:
        raise VoVNetError(
            f"{kind} {name!r} is announced by an installed package, but {entry.value} cannot be loaded "
            f"({type(error).__name__}: {first_line(error)}); repair or remove that package."
        ) from error


def names(kind: str) -> tuple[str, ...]:
    """The names that were registered or installed for a kind."""
    installed = (name.removeprefix(f"{kind}.") for name in _installed() if name.startswith(f"{kind}."))
    return tuple(sorted({*(name for one, name in _REGISTERED if one == kind), *installed}))


def load(target: str) -> Any:
    """The object of a dotted path ``package.module.Name``.

    Raises:
        VoVNetError: it cannot be imported; the sentence names what is missing.
    """
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise VoVNetError(
            f"_target_: {target} cannot be imported ({type(error).__name__}: {first_line(error)}); write "
            "package.module.Name of something that this Python finds (PYTHONPATH, pip install -e)."
        ) from error


def call(kind: str, part: Any, given: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a class or function of the user's, with the options of its YAML after what it is given.

    Raises:
        VoVNetError: it does not take them.
    """
    check_call(kind, part, given, options)
    return part(*given, **options)


def check_call(kind: str, part: Any, given: Sequence[Any], options: Mapping[str, Any]) -> None:
    """See that a class or function of the user's takes what it is to be called with.

    Raises:
        VoVNetError: it does not.
    """
    try:
        inspect.signature(part).bind(*given, **options)
    except TypeError as error:
        raise VoVNetError(
            f"the {kind} {path_of(part)} does not take its options ({error}); see its signature."
        ) from error


def path_of(part: Any) -> str:
    """The dotted path of a class or function."""
    return f"{part.__module__}.{part.__qualname__}"


def source_hash(part: Any) -> str:
    """16 hex digits of SHA-256 over the source file of a class or function, which enters every key that it determines.

    Without a file (a notebook's cell) the source of the part itself is taken.

    Raises:
        VoVNetError: there is no source to be had, so that a change would go unnoticed.
    """
    try:
        file = inspect.getsourcefile(part)
        code = Path(file).read_bytes() if file and Path(file).is_file() else inspect.getsource(part).encode()
    except (OSError, TypeError) as error:
        raise VoVNetError(
            f"the source of {path_of(part)} cannot be read, so stored results could not tell its versions apart; "
            "define it in a file."
        ) from error
    return hashlib.sha256(code).hexdigest()[:16]


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """The entry points of the group by their names; packages do not change while a process runs."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}
