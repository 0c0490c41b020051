"""Make training and evaluation sets ready, and see that they share nothing.

python -m experiments.prepare dataset=mini
python -m experiments.prepare dataset=train_mix +dataset@prepare.evaluation.mmbench=mmbench
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.errors import VoVNetError
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import say

if TYPE_CHECKING:
    from vovnet.data.prepare import Prepared


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "Prepared":
    """Prepare into ``prepare.out``, or only look."""
    from vovnet.data.prepare import prepare

    if config.prepare is None:
        raise VoVNetError("this configuration has no prepare section; start from the root config `prepare`.")
    return prepare(config, config.prepare, folder, session)


def show(prepared: "Prepared", folder: Path) -> None:
    """Print what was found."""
    for line in prepared.lines():
        say(line)
    say(f"outputs: {folder}")


finish = None  # it is not swept


def main() -> None:
    """Console entry point."""
    launch("prepare", run, show, finish)


if __name__ == "__main__":
    main()
