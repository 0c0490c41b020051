"""What a command says of the error that ends it, and the exit status that it leaves with."""

import sys
import traceback

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra
from vovnet.terminal import indented, say


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
