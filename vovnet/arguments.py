"""Arguments that must not reach Hydra: what would run code, leak a secret, or is a flag that nobody knows."""

from collections.abc import Iterator, Sequence

from vovnet.errors import VoVNetError
from vovnet.explain import known_keys, unknown_key
from vovnet.options import RENAMED, groups
from vovnet.secrets import refuse_secrets

OURS = "--experiment"  # a flag to argparse, which would take it for the next
RERUN = "--experimental-rerun"  # Hydra's, which takes it by any beginning as well

PLUGINS = {"hydra/launcher": ("basic",), "hydra/sweeper": ("vovnet",)}
FOREIGN_PLUGIN = (
    "{given} is not supported, since VoVNet checks a sweep as a whole and its jobs share what they load; leave it out, "
    "and write launcher=local or launcher=slurm to run jobs elsewhere."
)

# Hydra's own.
SHORT = ("-h", "-c", "-p", "-r", "-m", "-sc", "-cp", "-cn", "-cd", "-i")
LONG = (
    "--help --hydra-help --version --cfg --resolve --package --run --multirun --shell-completion --config-path "
    "--config-name --config-dir --experimental-rerun --info"
).split()


def refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuse what must not reach Hydra.

    Raises:
        VoVNetError: names the argument.
    """
    refuse_secrets(arguments)  # before Hydra writes them down
    if foreign := refused_flags(arguments):
        raise VoVNetError(foreign)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.startswith("--e") and RERUN.startswith(key):
            raise VoVNetError(f"{RERUN} would load a pickle, which can run code; give the overrides again.")
        if key.lstrip("+") in PLUGINS and value not in PLUGINS[key.lstrip("+")]:
            raise VoVNetError(FOREIGN_PLUGIN.format(given=argument))
        name = value.strip("'\"")
        if key.lstrip("+") == "hydra.sweep.subdir" and ("/" in name or name in ("", ".", "..")):
            raise VoVNetError(
                f"{argument} is no folder in the sweep's own; leave it out, or give the name of one without a slash."
            )


def refused_flags(arguments: Sequence[str]) -> str:
    """What to say about arguments with dashes that are neither Hydra's nor overrides; empty where there are none."""
    said, other = [], ("", "")
    for flag, value in _flags(arguments):
        name = flag if flag in RENAMED else flag.replace("-", "_").replace("__", "--", 1)
        if (row := RENAMED.get(name)) is not None:
            said.append(f"for {flag}{' ' * bool(value)}{value} write {row.typed(_joined(value))}{row.remark}")
        elif not other[0]:
            other = flag, _joined(value)
    if said:
        return f"settings are overrides, KEY=VALUE; flags of the specification have other names here: {'; '.join(said)}"
    flag, value = other
    return f"there is no flag {flag}, settings are overrides without dashes; {_advice(flag, value)}" if flag else ""


def _advice(flag: str, value: str) -> str:
    """What to write instead of a flag that is nobody's."""
    key = flag.lstrip("-")
    if flag == OURS:
        return f"write +{key}={value}, without dashes"
    if (group := key.replace(".", "/")) in groups():
        return f"write {group}={value}"
    return f"write {key}={value}" if key in known_keys() else unknown_key(key, value)


def _joined(value: str) -> str:
    return ",".join(value.split()) or "VALUE"


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Foreign flags, each with the values that follow it."""
    for place, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if not flag.startswith("-") or _is_hydras(flag) or flag.lstrip("-")[:1].isdigit() or flag == "-":
            continue
        following = []
        for after in arguments[place + 1 :]:
            if after.startswith("-") or "=" in after:
                break
            following.append(after)
        yield flag, value or " ".join(following)


def _is_hydras(flag: str) -> bool:
    """Whether Hydra's argument parser takes a flag, which it does by any beginning that names one flag only."""
    if not flag.startswith("--"):
        return flag.startswith(SHORT)
    return flag != OURS and (flag in LONG or (flag != "--" and sum(name.startswith(flag) for name in LONG) == 1))
