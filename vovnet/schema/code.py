"""Keys that name code of the user's own: ``{_target_: package.module.name, option: value}``, or a registered name."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from vovnet import registry
from vovnet.errors import VoVNetError
from vovnet.schema.ranges import STRICT


@dataclass(frozen=True, config=STRICT)
class Code:
    """A class or function, and what it is called with.

    Attributes:
        kind: of part, see ``vovnet.registry``.
        target: its dotted path.
        options: arguments by name.
        source: hash of the file that defines it, so that other code has results of its own.
        trusted: false where the configuration came with a file; such code is never imported.
    """

    kind: str
    target: str
    options: dict[str, Any]
    source: str = ""
    trusted: bool = True

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.target.rpartition(".")[2]

    @property
    def identity(self) -> str:
        """16 hex digits over its source and its options: what its results depend on."""
        facts = json.dumps([self.target, self.source, self.options], sort_keys=True, default=repr)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.identity)

    def part(self) -> Any:
        """The class or function itself.

        Raises:
            VoVNetError: a file names it, or it cannot be imported.
        """
        if not self.trusted:
            raise VoVNetError(
                f"a file names {self.target} as its {self.kind}; code is only taken from a configuration that you "
                "compose yourself."
            )
        return _part(self.kind, self.target)

    def __call__(self, *given: Any) -> Any:
        """Call it with its options after what it is given.

        Raises:
            VoVNetError: it does not take them.
        """
        return registry.call(self.kind, self.part(), given, self.options)


def read_code(kind: str, value: Any, trusted: bool) -> Code | None:
    """The code that a configuration's value names, or a program gives; None for null.

    Args:
        trusted: the user has composed the configuration.
    """
    if value is None:
        return None
    if isinstance(value, Code):
        return value
    if callable(value):  # of a program
        value = registry.path_of(value)
    if isinstance(value, Mapping) and registry.TARGET not in value:  # of a summary.json or a job's file
        found: Code = TypeAdapter(Code).validate_python(dict(value))
    else:
        options = {} if isinstance(value, str) else dict(value)
        found = Code(kind, _path(kind, value if isinstance(value, str) else options.pop(registry.TARGET)), options)
    if not trusted:
        return replace(found, trusted=False)
    return replace(found, kind=kind, source=registry.source_hash(_part(kind, found.target)), trusted=True)


def code_of(kind: str) -> BeforeValidator:
    """Reads a key as code of a kind."""

    def read(value: Any, info: ValidationInfo) -> Code | None:
        return read_code(kind, value, info.context == registry.TRUSTED)

    return BeforeValidator(read)


def _scorer(value: Any, info: ValidationInfo) -> Code | str | None:
    trusted = info.context == registry.TRUSTED
    if isinstance(value, str) and not (trusted and registry.find("scorer", value)):
        return value  # one of VoVNet's, or what a file says
    return read_code("scorer", value, trusted)


def _path(kind: str, name: Any) -> str:
    """The dotted path of a registered name, or the path itself."""
    if not isinstance(name, str) or not name:
        raise PydanticCustomError("value_error", "{key} must be package.module.NAME", {"key": registry.TARGET})
    if (part := registry.find(kind, name)) is not None:
        return registry.path_of(part)
    if "." in name:
        return name
    known = ", ".join(registry.names(kind)) or "none"
    raise PydanticCustomError(
        "value_error",
        "there is no {kind} {name}; write package.module.NAME, or a registered name (there are: {known})",
        {"kind": kind, "name": name, "known": known},
    )


def _part(kind: str, target: str) -> Any:
    """Registered in this process, such as in a notebook, or importable."""
    known = (registry.find(kind, name) for name in registry.names(kind))
    return next((part for part in known if registry.path_of(part) == target), None) or registry.load(target)


def code_beside(key: str, usual: Mapping[str, Any], known: Collection[str]) -> Callable[[Any], Any]:
    """Reads a section whose YAML says ``_target_`` itself, as a policy's does: the code goes under a key of its own.

    Args:
        usual: values of the section's other keys, where the YAML does not give them.
        known: the section's own keys; the others are the code's options.
    """

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping) or registry.TARGET not in value:
            return value
        options = {name: given for name, given in value.items() if name not in known}
        own = {name: given for name, given in value.items() if name in known}
        target = str(value[registry.TARGET])
        return {"name": target.rpartition(".")[2], **usual, **own, key: options}

    return read


Reader = Annotated[Code | None, code_of("dataset")]
ScorerCode = Annotated[Code | str | None, BeforeValidator(_scorer)]
ObjectiveCode = Annotated[Code | None, code_of("objective")]
Metrics = dict[str, Annotated[Code, code_of("metric")]]
ReportParts = dict[str, Annotated[Code, code_of("report_part")]]
