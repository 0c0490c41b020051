"""Configuration errors in one sentence each."""

import difflib
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from pydantic import ValidationError

from vovnet.errors import VoVNetError
from vovnet.schema import RunConfig

UNIONS = (("training",), ("policy", "baseline"), ("launcher",))  # keys whose fields depend on a name or kind


def explain_validation(error: ValidationError) -> str:
    """Name each offending key, what is wrong with it and what was given."""
    return "; ".join(_explain_one(detail) for detail in error.errors())


def _explain_one(detail: Any) -> str:
    place = [str(part) for part in detail["loc"]]
    for union in UNIONS:  # pydantic names the chosen member of a union after the union's key
        if tuple(place[: len(union)]) == union and len(place) > len(union):
            del place[len(union)]
    if "[" in place[-1] or place[-1] in ("int", "str"):  # a member of a union of plain types
        del place[-1]
    key = ".".join(place)
    if detail["type"] == "unexpected_keyword_argument":
        return f"there is no configuration key {key}{_suggest(key)}"
    if detail["type"] in ("missing", "missing_argument"):
        return f"the configuration key {key} is missing"
    message = detail["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list, such as [A,B]")
    if detail["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}={detail['input']!r} is refused: {message[0].lower()}{message[1:]}"


def explain_hydra(error: BaseException) -> str:
    """What Hydra or OmegaConf object to, on one line; a sentence of ours in what they raise about it."""
    if ours := own_sentence(error):
        return ours
    from hydra.errors import OverrideParseException  # loaded by whoever raised the error; a worker knows no Hydra

    if isinstance(error, OverrideParseException):
        return _explain_override(error.override)
    text = str(error)
    if "Config group override must be a string or a list. Got NoneType" in text:
        return "an override sets a config group to null; choose one of its options, or leave it out"
    if match := re.search(r"Could not override '([^']+)'", text):
        return f"there is no configuration key {match[1]}{_suggest(match[1])}; `--cfg job` lists all keys"
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        options = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)+)", text)
        known = ", ".join(options[1].split()) if options else "see the conf folder"
        return f"{match[1]}={match[2]} does not exist; choose one of: {known}"
    return " ".join(text.split())


def _explain_override(override: str) -> str:
    """Which override Hydra's grammar does not take, and what most often mends one."""
    if "=" not in override:
        mend = "give it a value, KEY=VALUE"
    elif any(override.count(opened) != override.count(closed) for opened, closed in ("[]", "{}", "()")):
        mend = "close every bracket and brace, as in ${KEY} and [A,B]"
    elif any(override.count(quote) % 2 for quote in "'\""):
        mend = "close its quote"
    else:
        mend = "quote its value, also from the shell: \"KEY='VALUE'\""
    return f"the override {override} cannot be read; {mend}"


def own_sentence(error: BaseException) -> str:
    """The sentence of a resolver of ours that an error of OmegaConf wraps; empty where none does."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, VoVNetError):
        inner = inner.__cause__ or inner.__context__
    return "" if inner is None else str(inner)


def known_keys(cls: type = RunConfig, prefix: str = "") -> list[str]:
    """All dotted keys of the schema."""
    keys = []
    for field in fields(cls):
        name = prefix + field.name
        keys.append(name)
        for inner in _dataclasses_in(field.type):
            keys += known_keys(inner, f"{name}.")
    return keys


def _dataclasses_in(kind: Any) -> list[type]:
    """The configuration classes that a type names, inside unions and annotations too."""
    if isinstance(kind, type) and is_dataclass(kind):
        return [kind]
    return [cls for inner in get_args(kind) for cls in _dataclasses_in(inner)]


def _suggest(key: str) -> str:
    close = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.75)
    return f", did you mean {close[0]}?" if close else ""
