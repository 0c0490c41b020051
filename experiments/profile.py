"""F1: where a question's time goes: per action, per piece and end to end.

python -m experiments.profile eval.max_samples=105
python -m experiments.profile policy/baseline=always_full
"""

from pathlib import Path
from typing import TYPE_CHECKING

from vovnet.jobs import all_done
from vovnet.launch import launch
from vovnet.schema import RunConfig
from vovnet.session import Session

if TYPE_CHECKING:
    from vovnet.analyses.profile import ProfileRow


def run(config: RunConfig, folder: Path, session: Session | None = None) -> "list[ProfileRow]":
    """Measure and write ``profile.csv`` and ``results.csv``, with the machine and the settings in ``summary.json``."""
    from vovnet.analyses.profiled import profile_policy

    return profile_policy(config, folder, session or Session())


def show(rows: "list[ProfileRow]", folder: Path) -> None:
    """Print the profile."""
    from vovnet.report.table import print_profile

    print_profile(rows, folder)


finish = all_done  # a sweep of it leaves no table


def main() -> None:
    """Console entry point."""
    launch("profile", run, show, finish)


if __name__ == "__main__":
    main()
