"""What a command would need: weights, data, policy, packages, devices, disk, memory, branches to run. Runs nothing.

python -m experiments.preflight eval dataset=mmbench backbone=qwen3_vl_8b
python -m experiments.preflight pipeline +experiment=equal_cost

With ``preflight.time=true`` it loads the model and runs two batches, to say how long the missing branches take.
"""

import logging
import sys

from vovnet.errors import VoVNetError
from vovnet.options import commands
from vovnet.terminal import counted, say

TIMED, UNTIMED = "preflight.time=true", "preflight.time=false"


def run(command: str, overrides: list[str]) -> bool:
    """Print what was found, problems last; False where there are any."""
    from vovnet.arguments import refuse_arguments
    from vovnet.preflight import preflight

    command = command.removeprefix("experiments.")
    if command not in commands():
        raise VoVNetError(f"there is no command {command!r}; write preflight COMMAND overrides, as preflight eval.")
    timed = TIMED in overrides
    overrides = [override for override in overrides if override not in (TIMED, UNTIMED)]
    refuse_arguments(overrides)
    if timed:
        say("loading the model, for two batches", file=sys.stderr)
    found = preflight(command, overrides, timed=timed)
    for finding in sorted(found, key=lambda one: one.problem):
        say(f"{'missing' if finding.problem else 'ok':8}{finding.need}: {finding.said}")
    problems = sum(finding.problem for finding in found)
    say(counted(problems, "problem") if problems else "ready")
    return not problems


def main() -> None:
    """Console entry point."""
    logging.disable(logging.INFO)
    command, *overrides = sys.argv[1:] or [""]
    if command in ("", "-h", "--help"):
        say(str(__doc__))
        return
    try:
        sys.exit(0 if run(command, overrides) else 1)
    except VoVNetError as error:
        say(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
