"""What a rule about keys without effect is, and the commands that it may speak of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vovnet.schema import RunConfig

TRAIN, COLLECT = ("train",), ("collect",)
EVALUATE = ("eval", "error_slices", "oracle")  # commands that write an evaluation
DECIDE = (*EVALUATE, "profile", "calibrate")  # commands that make a policy
ANY = (*TRAIN, *COLLECT, *DECIDE)  # commands that answer questions
READ = ("report", "store")  # commands that read what others have written

FALLBACK = (
    "policy.fallback_mode policy.fallback_entropy_threshold policy.fallback_entropy_quantile "
    "policy.fallback_margin_threshold"
)
FILES = "eval.checkpoint eval.ddp_checkpoint_path"

When = Callable[[RunConfig], bool]


def always(_: RunConfig) -> bool:
    """Whatever else is configured."""
    return True


def others(*own: str) -> tuple[str, ...]:
    """Every command but these, and but a pipeline, which hands its keys on."""
    return tuple(name for name in (*ANY, *READ, "match", "prepare") if name not in own)


@dataclass(frozen=True)
class Rule:
    """Keys without effect under a condition.

    Attributes:
        keys: separated by spaces; each stands for all keys below it as well.
        commands: the entry points that it holds for.
        why: the reason, as an end of a sentence.
        but: keys among them that do have an effect.
        end_of: a key of numbers at one end of which ``keys`` have no effect; swept together they draw curves that meet
            there; this is allowed.
        sweeps_only: a sweep over it is refused, but a value that is given is not reported: it changes figures, though
            not what the command makes.
    """

    keys: str
    commands: Sequence[str]
    why: str
    when: When = always
    but: str = ""
    end_of: str = ""
    sweeps_only: bool = False

    def covers(self, command: str, key: str) -> bool:
        """Whether it speaks of a key of a command, whatever the composition."""
        return command in self.commands and _below(key, self.keys) and not _below(key, self.but)


def _below(key: str, tops: str) -> bool:
    return any(key == top or key.startswith(f"{top}.") for top in tops.split())
