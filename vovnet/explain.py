"""Errors of Hydra and of the schema as one sentence, and the exit status that a command ends with."""

import difflib
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from vovnet.errors import NO_ROOM, VoVNetError, explained
from vovnet.options import NOTHING, RENAMED, defaults, groups, owners
from vovnet.registry import POLICIES, load
from vovnet.schema import PolicyOptions, RunConfig
from vovnet.schema.code import Code
from vovnet.terminal import indented, say

UNIONS = (("policy", "baseline"), ("launcher",))  # keys whose fields depend on a name or kind
FREE = {  # keys whose names are the user's, and how one is added
    "launcher.additional_parameters": "+launcher.additional_parameters.{name}={value}",
    "prepare.evaluation": "+dataset@prepare.evaluation.{name}={value}",
    **{
        key: f"+{key}.{{name}}={{value}}"
        for key in ("dataset.reader", "dataset.scorer", "policy.objective.code", "eval.metrics", "report.parts")
    },
}
VALUE = "VALUE"  # where it is not known
MISSING = ("missing", "missing_argument")


def explain_validation(error: ValidationError) -> str:
    """Name each offending key, what is wrong with it and what was given."""
    details: list[Any] = list(error.errors())
    said = []
    for union in UNIONS:  # a name alone chooses no option: all that follows from it is said at once
        inside = [d for d in details if d["loc"][: len(union)] == union and len(d["loc"]) > len(union) + 1]
        if any(detail["type"] in MISSING for detail in inside):
            details = [detail for detail in details if detail not in inside]
            said.append(_incomplete(union, inside))
    return "; ".join([*said, *(_explain_one(detail) for detail in details)])


def _incomplete(union: tuple[str, ...], details: list[Any]) -> str:
    """A member of a union without some of its keys."""
    lacking = [".".join((*union, *map(str, d["loc"][len(union) + 1 :]))) for d in details if d["type"] in MISSING]
    others = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    option = f"{'/'.join(union)}={details[0]['loc'][len(union)] or 'none'}"
    return f"the configuration key {lacking[0]} is missing{others}; choose {option}, which brings all its keys"


def _explain_one(detail: Any) -> str:
    if not detail["loc"]:  # of the whole configuration, which names the key
        return str(detail["msg"]).removeprefix("Value error, ")
    place = [str(part) for part in detail["loc"]]
    for union in UNIONS:  # pydantic names the chosen member of a union after the union's key
        if tuple(place[: len(union)]) == union and len(place) > len(union):
            del place[len(union)]
    if place and ("[" in place[-1] or place[-1] in ("int", "str")):  # a member of a union of plain types
        del place[-1]
    key = ".".join(place)
    if detail["type"] == "unexpected_keyword_argument":
        return unknown_key(key)
    if detail["type"] in MISSING:
        return f"the configuration key {key} is missing"
    options = groups().get(group := key.replace(".", "/"), ())
    choice = f"{group}=OPTION, one of {', '.join(options)}"
    if detail["type"] == "union_tag_invalid":
        tag = detail["ctx"]
        advice = f"choose {choice}" if options else f"choose one of {tag['expected_tags']}"
        return f"{key}.{tag['discriminator'].strip(chr(39))}={tag['tag']} is refused; {advice}"
    if options and isinstance(detail["input"], str | None):
        given = "null" if detail["input"] is None else detail["input"]
        option = "none" if given in NOTHING else given  # as null is called there
        fix = f"{group}={option}" if option in options else choice
        return f"{key}={given} does not choose an option; options take a slash, write {fix}"
    message = detail["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list, such as [A,B]")
    if detail["type"] == "value_error":
        return f"{key}: {message}" if key else message  # of several sections together
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
        given = re.search(r"append to your (?:config|default list) use \+[^=\s]+=(.+)", text)
        return unknown_key(match[1], given[1] if given else VALUE)
    if match := re.search(r"Multiple values for ([\w/]+)\..*'override \S+: (.*)'", text):
        return f"{match[1]} has an option already; write {match[1]}={match[2]}, without a plus"
    if match := re.match(r"(\S+) appears more than once in the final defaults list", text):
        return f"{match[1]} has that option already; leave the plus out, or write {match[1]}=OPTION once"
    if match := re.search(r"force-add of config groups is not supported: '\++([^']+)'", text):
        return f"the option of a config group is never added by ++; write {match[1]}"
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match[1]} holds several values; add -m to sweep over them, or write [A,B] for a list"
    if "Could not find 'hydra/sweeper/vovnet'" in text:  # a checkout that was installed before it had the plugin
        return "Hydra does not find VoVNet's sweeper; install the package again, by `pip install -e .` in a checkout"
    if match := re.search(r"Could not find '([^']+)/([^'/]*)'", text):
        options = re.search(r"Available options in '[^']+':\n((?:\t.*\n?)+)", text)
        known = ", ".join(options[1].split()) if options else "see the conf folder"
        return f"{match[1]}={match[2]} does not exist; choose one of: {known}"
    return " ".join(text.split())


def _explain_override(override: str) -> str:
    """Which override Hydra's grammar does not take, and what most often repairs one."""
    if "=" not in override:
        fix = "give it a value, KEY=VALUE"
    elif any(override.count(opened) != override.count(closed) for opened, closed in ("[]", "{}", "()")):
        fix = "close every bracket and brace, as in ${KEY} and [A,B]"
    elif any(override.count(quote) % 2 for quote in "'\""):
        fix = "close its quote"
    else:
        fix = "quote its value, also from the shell: \"KEY='VALUE'\""
    return f"the override {override} cannot be read; {fix}"


def own_sentence(error: BaseException) -> str:
    """The sentence of a resolver of ours that an error of OmegaConf wraps; empty where none does."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, VoVNetError):
        inner = inner.__cause__ or inner.__context__
    return "" if inner is None else str(inner)


@cache
def known_keys(cls: type = RunConfig, prefix: str = "") -> tuple[str, ...]:
    """All dotted keys of the schema."""
    keys: list[str] = []
    for field in fields(cls):
        name = prefix + field.name
        keys.append(name)
        for inner in _dataclasses_in(field.type):
            keys += known_keys(inner, f"{name}.")
    return tuple(dict.fromkeys(keys))


def _dataclasses_in(kind: Any) -> list[type]:
    """The configuration classes that a type names, inside unions and annotations; members of lists have no keys."""
    if kind is Code:  # its keys are the user's
        return []
    if kind is PolicyOptions:  # each policy brings its own keys
        return [load(path) for path in dict.fromkeys(POLICIES.values())]
    if isinstance(kind, type) and is_dataclass(kind):
        return [kind]
    if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping | Sequence):
        return []
    return [cls for inner in get_args(kind) for cls in _dataclasses_in(inner)]


def unknown_key(key: str, value: str = VALUE) -> str:
    """What to say about a key that a composition does not have. It never suggests that very key alone.

    Args:
        value: what was given for it.
    """
    if (row := RENAMED.get(key.replace("/", ".").removesuffix(".py"))) is not None:
        return row.sentence(value)
    lacking, dotted = f"there is no configuration key {key}", key.replace("/", ".")
    if key == "experiment":
        return f"{lacking}; write +experiment={value}, with a plus"
    if "@" in key:
        place = key.rpartition("@")[2].rpartition(".")[0]
        return f"{lacking}; an option for another place is added with a plus, +{key}={value}{_brought(place)}"
    if dotted != key and (dotted in groups() or dotted in known_keys()):
        return f"{lacking}; write {dotted}={value}, since a slash chooses an option of a config group"
    if brought := owners().get(key):
        if all(name.startswith("experiments.") for name in brought):
            which = "that command" if len(brought) == 1 else "one of them"
            return f"{lacking} here, it is a key of {_either(brought)}; run {which}"
        return f"{lacking} here, it belongs to {_either(brought)}; choose {'that' if len(brought) == 1 else 'one'}"
    for free, added in FREE.items():
        if key.startswith(f"{free}."):
            name, _, inner = key.removeprefix(f"{free}.").partition(".")
            typed = added.format(name=name, value="OPTION" if inner else value)
            return f"{lacking} yet; {free} takes names of your own with a plus, {typed}{_brought(free)}"
    last = dotted.rpartition(".")[-1]
    if named := [group for group in groups() if group.rpartition("/")[-1] == last and group != key]:
        return f"{lacking}, did you mean {named[0]}={value}?"
    if similar := _similar(key):
        return f"{lacking}, did you mean {similar}{_brought(similar)}?"
    return f"{lacking}; `--cfg job` lists all keys"


def _similar(key: str) -> str:
    """The key that was most likely meant: the only one that ends in what is given, or one that begins or reads alike.

    Sections are none: no value can be set for them.
    """
    sections = {name.rpartition(".")[0] for name in known_keys()}
    leaves = [name for name in known_keys() if name not in sections and name != key]
    ending = [name for name in leaves if name.endswith(f".{key}")]
    if len(ending) == 1:
        return ending[0]
    begun = [name for name in leaves if "." in key and name.startswith(key)]
    close = difflib.get_close_matches(key, begun or leaves, n=1, cutoff=0 if begun else 0.75)
    return close[0] if close else ""


def _brought(key: str) -> str:
    """With what else a key composes that not every composition has, as the end of a sentence."""
    brought = owners().get(key, ())
    if not brought or set(brought) & set(defaults()):
        return ""
    return f", {'in' if brought[0].startswith('experiments.') else 'with'} {_either(brought)}"


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def exit_status_of(error: BaseException, by_job: bool, with_traceback: bool) -> int:
    """Say in a sentence why a command failed; returns the exit status.

    Args:
        by_job: a job of this process has raised it, and not Hydra.
    """
    match error:
        case KeyboardInterrupt():
            return 130
        case VoVNetError():
            return fail(str(error), with_traceback)
        case HydraException() | OmegaConfBaseException():
            return fail(explain_hydra(error), with_traceback)
        case OSError() if error.errno in NO_ROOM:
            return fail(str(explained(error)), with_traceback)
        case OSError():
            advice = "" if by_job else "; set paths.runs to a writable folder."  # Hydra's: it could not make a folder
            where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            return fail(where + advice, with_traceback or by_job)
        case _:
            # Hydra raises plain ValueErrors for some overrides; anything out of a job is a defect of ours.
            return fail(explain_hydra(error), with_traceback or by_job)


def fail(sentence: str, with_traceback: bool) -> int:
    """Say why a command failed, in a line of its own; returns the exit status."""
    if with_traceback:
        say(traceback.format_exc(), file=sys.stderr)
    say(f"error: {indented(sentence)}", file=sys.stderr)
    return 1
