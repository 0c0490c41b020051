"""Ask one question about an image: what each look answers, what the policy chooses and what that saves.

python -m experiments.ask image=cat.jpg question="What is on the sofa?" options="a cat,a dog"

``image=``, ``question=`` and ``options=`` are taken literally. ``options`` is one list separated by commas, in quotes
where an option holds a comma itself; or one argument for each option. Further arguments are overrides.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.api.explanation import Explanation

LITERAL = ("image", "question", "options")


@dataclass(frozen=True)
class Asked:
    """A question as it was typed."""

    images: tuple[str, ...]
    question: str
    options: tuple[str, ...]


def split_arguments(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """What is taken literally, by its name, and what Hydra reads."""
    literal: dict[str, list[str]] = {name: [] for name in LITERAL}
    rest = []
    for argument in arguments:
        name, equals, text = argument.partition("=")
        literal[name].append(text) if equals and name in literal else rest.append(argument)
    return literal, rest


def asked_of(literal: dict[str, list[str]]) -> Asked:
    """The question, complete.

    Raises:
        VoVNetError: image or question is missing, or there is one option only.
    """
    options = literal["options"]
    if len(options) == 1:
        options = next(csv.reader([options[0]], skipinitialspace=True), [])
    if not literal["image"] or len(literal["question"]) != 1 or not literal["question"][0].strip():
        raise VoVNetError('give an image and one question: image=cat.jpg question="What is on the sofa?".')
    if len(options) == 1:
        raise VoVNetError(f"options={options[0]} is one option only; give several: options='a cat,a dog'.")
    return Asked(tuple(literal["image"]), literal["question"][0], tuple(options))


def run(
    literal: dict[str, list[str]], config: RunConfig, folder: Path, session: Session | None = None
) -> "Explanation":
    """Answer the question as the configured policy decides, and from each of its looks."""
    asked = asked_of(literal)
    from vovnet.api.router import ask_route, live_route
    from vovnet.results.setting import make_policy

    session = session or Session()
    policy = make_policy(config, session)
    if why := policy.only_replayed():
        raise VoVNetError(why)
    router = live_route(config, policy, session)
    return ask_route(router, config.dataset, asked.question, asked.images, asked.options)


def show(explanation: "Explanation", folder: Path) -> None:
    """Print the table."""
    from vovnet.report.table import PlainConsole

    PlainConsole().print(explanation)


finish = None  # it is not swept


def main() -> None:
    """Console entry point."""
    literal, sys.argv[1:] = split_arguments(sys.argv[1:])
    launch("ask", partial(run, literal), show, finish)


if __name__ == "__main__":
    main()
