"""Keys that have no effect in a composition: reported when given, refused when they are swept.

``RULES`` is the whole list. A rule speaks of results, so a key that always has an effect on speed only is in none.
Keys that were not given are not reported.
"""

from collections.abc import Iterator, Sequence

from vovnet.no_effect.deciding import DECIDING
from vovnet.no_effect.rule import Rule, always, off_slurm, replays_here
from vovnet.no_effect.training import TRAINING
from vovnet.options import groups
from vovnet.schema import RunConfig

RULES = (*TRAINING, *DECIDING)


def without_effect(command: str, config: RunConfig, given: Sequence[str]) -> Iterator[tuple[str, Rule]]:
    """The given keys that change no result of a command, each with the first rule that says so."""
    for key in given:
        rule = next((rule for rule in RULES if rule.covers(command, key) and rule.when(config)), None)
        if rule is not None:
            yield key, rule


def key_of(override: str) -> str:
    """The dotted key that an override sets; the option of a group counts as the group's own key."""
    key = override.partition("=")[0].lstrip("+~")
    return key.rpartition("@")[2].replace("/", ".")  # dataset@prepare.evaluation.a


def shown(key: str) -> str:
    """A key as it is typed: a config group with slashes."""
    group = key.replace(".", "/")
    return group if group in groups() else key


def no_effect_lines(command: str, config: RunConfig, overrides: Sequence[str], is_stage: bool) -> list[str]:
    """A line for each reason why given keys have no effect.

    Args:
        is_stage: a pipeline gives its stages all keys; what another stage's command reads is no news there.
    """
    reasons: dict[str, list[str]] = {}
    for key, rule in without_effect(command, config, [key_of(override) for override in overrides]):
        if not (rule.sweeps_only or (is_stage and rule.when in (always, off_slurm, replays_here))):
            reasons.setdefault(rule.why, []).append(shown(key))
    return [f"{', '.join(keys)}: no effect here, {why}" for why, keys in reasons.items()]
