"""What a policy is, what it sees of each question, and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vovnet.actions import USUAL, Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.rows import LookState, Outcomes, TextOutcomes
from vovnet.schema.policy import PolicyOptions, Ratios
from vovnet.schema.ranges import Split

if TYPE_CHECKING:
    from vovnet.data import Sample
    from vovnet.outcomes.known import Outcomes as KnownOutcomes
    from vovnet.policy.card import PolicyCard
    from vovnet.schema import RunConfig
    from vovnet.session import Session
    from vovnet.vlm.files import Checkpoint

Value = str | int | float | bool | None  # of a column

# What a policy may need, besides ``look:NAME`` for what a look has yielded, and ``state:NAME`` for that together with
# what its prefill yields.
TEXT, COSTS, SAMPLES, SPLIT, OUTCOMES = "text", "costs", "samples", "split", "all_outcomes"
NEEDS = {
    TEXT: "features of the text pass, which is then paid for",
    COSTS: "what each look would cost, from image headers",
    SAMPLES: "question, options and image sizes",
    SPLIT: "all questions of the split in one view",
    OUTCOMES: "what every look would have yielded, with its score",
}
LOOK, STATE = "look:", "state:"


@dataclass(frozen=True)
class Question:
    """A question without its reference answers."""

    sample: "Sample" = field(repr=False)

    @property
    def question(self) -> str:
        """The user's text, before the prompt template."""
        return self.sample.question

    @property
    def options(self) -> tuple[str, ...]:
        """Of a multiple-choice question, in the order of their letters; empty for an open one."""
        return self.sample.options

    @property
    def hint(self) -> str:
        """Context that belongs to the question."""
        return self.sample.hint

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each image in pixels, from its header."""
        return tuple(image.size() for image in self.sample.images)


@dataclass(frozen=True)
class Seen:
    """What a look has yielded: an answer, not whether it is right; all [N].

    Attributes:
        taken: whether the question has been looked at in this way; the other columns mean nothing elsewhere.
        prediction: the decoded answer.
        confidence: probability of the answer's tokens.
        vision_tokens: image tokens that were read.
        generated_tokens: length of the answer.
        state: what the prefill yields; None unless the policy needs it.
    """

    taken: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    vision_tokens: np.ndarray
    generated_tokens: np.ndarray
    state: LookState | None = None


SEEN = tuple(f.name for f in fields(Seen) if f.name not in ("taken", "state"))


@dataclass(frozen=True)
class View:
    """What a policy sees of N questions: what it ``needs`` and nothing else; the rest is None.

    Attributes:
        rows: places in the split, int64 [N].
        text: features of the text pass.
        costs: normalised cost of each of the policy's looks, [N, A].
        samples: the questions, [N].
        seen: what the looks have yielded that ``needs`` names.
        outcomes: every look's outcome with its score; for bounds such as the oracle, never for a policy.
    """

    rows: np.ndarray
    text: TextOutcomes | None = None
    costs: np.ndarray | None = None
    samples: Sequence[Question] | None = None
    seen: Mapping[Action, Seen] = field(default_factory=dict)
    outcomes: Outcomes | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Step:
    """What a policy says of N questions.

    Attributes:
        looks: ``Action`` values, int64 [N].
        answer: bool [N]: answer from this look, which is taken now unless it was before. Elsewhere the look is taken
            and the policy is asked again. None: answer everywhere.
        values: estimated score of each of ``Policy.valued``, [N, A]; None for rules.
        fallback: where an uncertain NO was raised, bool [N]; None where no fallback is on.
    """

    looks: np.ndarray
    answer: np.ndarray | None = None
    values: np.ndarray | None = None
    fallback: np.ndarray | None = None


@dataclass(frozen=True)
class Target:
    """What the random baseline is to match: ratios, entropies in nats between its buckets, a run's average cost,
    and the looks that the ratios are of."""

    ratios: tuple[Ratios, ...]
    thresholds: tuple[float, ...] | None
    cost: float | None = None
    looks: tuple[Action, ...] = USUAL


@dataclass(frozen=True)
class Context:
    """What a policy may be made from besides its options.

    Attributes:
        config: of the run.
        session: keeps what is made once.
        matched: reads the target of the random baseline from a finished run.
    """

    config: "RunConfig"
    session: "Session"
    matched: Callable[[Any, "RunConfig"], Target]

    @property
    def checkpoint(self) -> "Checkpoint":
        """The backbone's files."""
        from vovnet.vlm.files import find_checkpoint

        return find_checkpoint(self.config.backbone, session=self.session)

    def outcomes(self, split: Split = "train", max_samples: int | None = None) -> "KnownOutcomes":
        """What every look yields on a split of the run's data set, for a policy that learns from it.

        Args:
            max_samples: the first so many questions; None takes all.

        Raises:
            VoVNetError: the policy would learn from the questions that it is evaluated on.
        """
        from vovnet.outcomes.known import known_outcomes

        if split == self.config.eval.split and "split" not in self.config.leaks.allow:
            raise VoVNetError(
                f"policy {self.config.policy.baseline.name} learns from the split {split}, on which it is to be "
                "evaluated; set eval.split to the other one, or leaks.allow=[split]."
            )
        own = replace(self.config.eval, split=split, max_samples=max_samples)
        return known_outcomes(replace(self.config, eval=own), self.session)


class Policy(PolicyOptions):
    """Decides per question how closely to look.

    A subclass says what it ``needs``, which ``looks`` it chooses among (cheapest first) and defines ``step``. A
    dataclass's plain fields are columns of results.csv without further ado.
    """

    needs: frozenset[str] = frozenset()
    looks: tuple[Action, ...] = USUAL
    file: Path | None = None  # that it was read from
    card: "PolicyCard | None" = None  # of a trained head

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in cls.__annotations__ and not hasattr(cls, "name"):
            cls.name = cls.__name__

    def step(self, view: View) -> Step:
        """Say of each question whether to answer now or to look; called again for those that only look."""
        raise NotImplementedError

    def columns(self) -> dict[str, Value]:
        """Its settings: columns of results.csv of these names, others as ``policy.NAME``."""
        names = [name for name in getattr(self, "__dataclass_fields__", ()) if name != "name"]
        own: dict[str, Any] = {name: getattr(self, name) for name in names}
        return {name: value for name, value in own.items() if isinstance(value, Value)}

    def label(self) -> str:
        """What tables and figures call it with its settings."""
        settings = (f"{name}={value}" for name, value in self.columns().items() if value is not None)
        return " ".join([self.name, *settings])

    @property
    def states(self) -> tuple[Action, ...]:
        """The looks whose prefill it reads."""
        return tuple(action for action in self.looks if f"{STATE}{action.label}" in self.needs)

    @property
    def valued(self) -> tuple[Action, ...]:
        """The looks whose scores ``Step.values`` estimates, column by column."""
        return self.looks

    def expectation(self, view: View, scores: np.ndarray, costs: np.ndarray) -> dict[str, Any] | None:
        """What a policy that draws comes to on average over all draws; None for one that draws nothing.

        Args:
            scores, costs: of each of its looks, [N, A].
        """
        return None

    def only_replayed(self) -> str:
        """Why it cannot run live, as a sentence; empty where it can."""
        if OUTCOMES in self.needs:
            return f"the {self.name} chooses among outcomes that are known; run it with eval.mode=replay."
        if SPLIT in self.needs:
            return f"{self.name} decides on the whole split at once; run it with eval.mode=replay."
        return ""

    def make(self, context: Context) -> "Policy":
        """Itself: most policies are their own options."""
        return self


def checked(policy: Any, name: str = "") -> Policy:
    """A policy of the user's own code, if it is one.

    Args:
        name: what results call it; empty leaves it its own.

    Raises:
        VoVNetError: it is none, or needs or looks at what there is not.
    """
    what = f"{type(policy).__module__}.{type(policy).__qualname__}"
    if name:
        what = f"{name} ({what})"
    if not isinstance(policy, Policy) or type(policy).step is Policy.step:
        raise VoVNetError(f"{what} is no policy; derive it from vovnet.Policy and define step(view).")
    known = {*NEEDS, *(f"{kind}{action.label}" for kind in (LOOK, STATE) for action in (*USUAL, *policy.looks))}
    if unknown := set(policy.needs) - known:
        raise VoVNetError(
            f"{what} needs {min(unknown)!r}, which there is not; choose among {', '.join(sorted(known))}."
        )
    usual = [look for look in policy.looks if look in USUAL]
    if not policy.looks or usual != sorted(usual) or len({*policy.looks}) < len(policy.looks):
        raise VoVNetError(f"{what} must name its looks once each and cheapest first, as in (Action.NO, Action.FULL).")
    if name:
        object.__setattr__(policy, "name", name)  # also of a frozen dataclass
    return policy


def restricted(view: View, policy: Policy, looks: Sequence[Action]) -> View:
    """What another policy may see of a view made for ``looks``."""
    costs = None
    if COSTS in policy.needs and view.costs is not None:
        costs = view.costs[:, [looks.index(action) for action in policy.looks]]
    return replace(view, text=view.text if TEXT in policy.needs else None, costs=costs)
