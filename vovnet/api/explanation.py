"""One question, explained: what each look answers, what the policy expects of it, what it chose and what that saves."""

import base64
import html
import io
import math
from dataclasses import dataclass, replace
from string import ascii_uppercase

import numpy as np
from PIL import Image
from rich.table import Table
from rich.text import Text

from vovnet.actions import Action
from vovnet.data.sample import Sample
from vovnet.policy.protocol import LOOK, Policy, Step, View
from vovnet.policy.route import Router
from vovnet.terminal import shown

THUMBNAIL = 240  # pixels of the long side
HEADINGS = ("look", "answer", "probability", "tokens", "cost", "value", "value - \u03bb cost", "")


@dataclass(frozen=True)
class LookReport:
    """What one look at the images answers, and what the policy expects of it.

    Attributes:
        confidence: probability of the answer's tokens.
        cost: 1 is a maximal FULL image.
        value: expected score; None for a policy that estimates none.
        utility: value less lambda times cost.
        taken: the policy took this look, and paid for it.
        chosen: it answers from this look.
    """

    look: str
    answer: str | None
    confidence: float
    vision_tokens: int
    cost: float
    value: float | None
    utility: float | None
    taken: bool
    chosen: bool

    def cells(self) -> list[str]:
        """One line of the table."""
        estimates = ["" if one is None else f"{one:.3f}" for one in (self.value, self.utility)]
        mark = "chosen" if self.chosen else "taken" if self.taken else ""
        said = "(no answer)" if self.answer is None else self.answer
        numbers = [f"{self.confidence:.3f}", str(self.vision_tokens), f"{self.cost:.3f}", *estimates]
        return [self.look.upper(), shown(said), *numbers, mark]


@dataclass(frozen=True)
class Explanation:
    """A question and its answer, with what every look of the policy's menu would have answered.

    ``rich.print`` shows it as a table; a notebook shows it with the images.

    Attributes:
        answer: what the policy answers.
        cost, vision_tokens: of all looks that it took.
        entropy, margin: of the text pass's next token, nats and probability; NaN for a policy that reads no text pass.
        policy: its name with its settings.
    """

    sample: Sample
    looks: tuple[LookReport, ...]
    answer: str | None
    cost: float
    vision_tokens: int
    entropy: float
    margin: float
    policy: str

    @property
    def saved(self) -> float:
        """Share of the vision tokens of the menu's last look that the policy saves; negative if it took more."""
        return 1 - self.vision_tokens / max(1, self.looks[-1].vision_tokens)

    def verdict(self) -> str:
        """The choice and what it saves, in one sentence."""
        (chosen,) = (look.look.upper() for look in self.looks if look.chosen)
        last = self.looks[-1]
        said = f"{self.policy} answers {shown(self.answer or '')!r} from {chosen}: {self.vision_tokens} vision tokens"
        if chosen == last.look.upper():
            return f"{said}, the closest look."
        agrees = "the same answer" if self.answer == last.answer else f"{shown(last.answer or '')!r}"
        saved = f"saves {self.saved:.0%}" if self.saved >= 0 else f"takes {-self.saved:.0%} more"
        return f"{said}; {last.look.upper()} takes {last.vision_tokens} and gives {agrees}, so this {saved}."

    def lines(self) -> list[list[str]]:
        """The table: its headings, then a line per look. A column that holds nothing is left out."""
        table = [list(HEADINGS), *(look.cells() for look in self.looks)]
        kept = [n for n in range(len(HEADINGS)) if any(line[n] for line in table[1:])]
        return [[line[n] for n in kept] for line in table]

    def text_pass(self) -> str:
        """What the text pass knew, as a sentence; empty for a policy that reads none."""
        if math.isnan(self.entropy):
            return ""
        return f" Text pass: entropy {self.entropy:.3f} nats, margin {self.margin:.3f}."

    def __rich__(self) -> Table:
        options = "".join(
            f"\n{letter}. {one}" for letter, one in zip(ascii_uppercase, self.sample.options, strict=False)
        )
        table = Table(title=Text(shown(self.sample.question + options)), title_justify="left", caption_justify="left")
        table.caption = Text(self.verdict() + self.text_pass())
        headings, *lines = self.lines()
        for heading in headings:
            table.add_column(heading, justify="left" if heading in ("look", "answer", "") else "right")
        for line in lines:
            table.add_row(*map(Text, line))  # an answer's brackets are no markup
        return table

    def _repr_html_(self) -> str:
        images = "".join(_picture(image.load()) for image in self.sample.images)
        lines = []
        for kind, cells in zip(["th", *(["td"] * len(self.looks))], self.lines(), strict=True):
            style = ' style="font-weight:bold"' if cells[-1] == "chosen" else ""
            lines.append(f"<tr{style}>" + "".join(f"<{kind}>{html.escape(c)}</{kind}>" for c in cells) + "</tr>")
        lettered = zip(ascii_uppercase, self.sample.options, strict=False)
        options = "".join(f"<br>{letter}. {html.escape(one)}" for letter, one in lettered)
        return (
            f"<div>{images}<p><b>{html.escape(self.sample.question)}</b>{options}</p><table>{''.join(lines)}</table>"
            f"<p>{html.escape(self.verdict() + self.text_pass())}</p></div>"
        )


class EveryLook(Policy):
    """Takes every look of a menu, one after the other."""

    name = "every_look"

    def __init__(self, looks: tuple[Action, ...], needs: frozenset[str]) -> None:
        self.looks = looks
        self.needs = needs | {f"{LOOK}{look.label}" for look in looks}

    def step(self, view: View) -> Step:
        """The next look; the answer is the last one's."""
        place = sum(int(view.seen[look].taken[0]) for look in self.looks if look in view.seen)
        size = len(view)
        return Step(np.full(size, int(self.looks[place])), answer=np.full(size, place == len(self.looks) - 1))


class Watched(Policy):
    """A policy that remembers which looks it took, as numbers of ``Action``."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.looks, self.needs, self.card = policy, policy.looks, policy.needs, policy.card
        self.name, self.taken = policy.name, set[int]()

    def step(self, view: View) -> Step:
        """What the policy says."""
        step = self.policy.step(view)
        self.taken.update(step.looks.tolist())
        return step


def explain(sample: Sample, route: Router, prompt: str) -> Explanation:
    """Answer one question as a policy decides, and once more from every look of its menu.

    Args:
        route: of the policy, which runs live.
        prompt: the question as the model reads it.
    """
    policy = route.policy
    watched, items = Watched(policy), [(0, sample, prompt)]
    routed = replace(route, policy=watched)(items)
    every = replace(route, policy=EveryLook(policy.looks, policy.needs))(items)
    costs = route.costs([sample])[0].tolist()
    outcomes = [*(earlier.outcomes for earlier in every.earlier), every.chosen]
    found: list[float] = [] if routed.values is None else routed.values[0].tolist()
    values = dict(zip(policy.valued, found, strict=False))
    price = getattr(policy, "lambda_cost", None)
    reports = []
    for look, said, cost in zip(policy.looks, outcomes, costs, strict=True):
        value = values.get(look)
        reports.append(
            LookReport(
                look=look.label,
                answer=said.answer[0],
                confidence=float(said.confidence[0]),
                vision_tokens=int(said.vision_tokens[0]),
                cost=cost,
                value=value,
                utility=None if value is None or price is None else value - price * cost,
                taken=int(look) in watched.taken,
                chosen=int(look) == int(routed.actions[0]),
            )
        )
    return Explanation(
        sample=sample,
        looks=tuple(reports),
        answer=routed.chosen.answer[0],
        cost=float(routed.cost[0]),
        vision_tokens=int(routed.paid("vision_tokens")[0]),
        entropy=float(routed.entropy[0]),
        margin=float(routed.margin[0]),
        policy=policy.label(),
    )


def _picture(image: Image.Image) -> str:
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{encoded}" style="margin-right:4px">'
