"""Running an entry point from the command line; it exits with 1 if any job failed.

Nothing happens at import, and what a command needs is imported when it begins.
"""

import io
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING

from vovnet.garbage import run_alone, uncollected
from vovnet.ranks import PARENT, end_with_parent, is_main_rank, world_size
from vovnet.terminal import say, show_warning

if TYPE_CHECKING:
    from vovnet.command import Finish, Run, Show

SHOWING = ("--cfg", "--info")  # flags of Hydra that show a configuration, and run nothing; -c and -i for short


def launch(config_name: str, run: "Run", show: "Show", finish: "Finish | None") -> None:
    """Run an entry point from ``sys.argv``; exits with 1 if any job failed.

    A single job's result is shown; a sweep's folder is finished, whether or not all jobs succeeded. An entry point
    without ``finish`` is not swept.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules are imported it ends this process silently
    if (parent := os.environ.pop(PARENT, None)) is not None:
        end_with_parent(int(parent))
    asked_for_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"

    if "hydra" not in sys.modules and parent is None and is_main_rank():
        say(f"{config_name}: loading Hydra and the configuration", file=sys.stderr)

    run_alone()
    with uncollected():
        import hydra

        from vovnet.arguments import flags_first, refuse_arguments
        from vovnet.command import BeforeWriting, Command, RefusedError
        from vovnet.compose import register_resolvers
        from vovnet.explain import exit_status_of
        from vovnet.options import conf_dir
        from vovnet.rank_launch import PATIENCE, join_ranks

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    register_resolvers()
    warnings.showwarning = show_warning
    logging.raiseExceptions = False  # a log file on a full disk is no second problem, and prints no traceback
    command = Command(config_name, run, show, finish, is_stage=parent is not None)
    code = 0
    try:
        refuse_arguments(sys.argv[1:])
        if not {"-h", "--help"}.isdisjoint(sys.argv[1:]):
            say(f"{sys.modules[show.__module__].__doc__}\nKeys and options:")
        sys.argv[1:] = flags_first(sys.argv[1:])
        if world_size() > 1:
            join_ranks(config_name)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # hand errors to us instead of printing them
        shows = any(map(_shows, sys.argv[1:]))
        with _hidden_secrets() if shows else nullcontext():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(command)()
        command.settle()
    except (Exception, KeyboardInterrupt, RefusedError) as raised:
        error = raised.why if isinstance(raised, RefusedError) else raised
        if not is_main_rank() and isinstance(error, Exception) and error not in command.errors:
            time.sleep(PATIENCE)
        if isinstance(error, OSError) and error.errno is not None and not error.filename:
            error.filename = BeforeWriting.place()  # Hydra was writing its records
        code = exit_status_of(error, error in command.errors, asked_for_traceback)
        if isinstance(error, KeyboardInterrupt) and parent is None and is_main_rank():
            say("interrupted; the same command goes on where this one stopped", file=sys.stderr)
    finished = command.finish_sweep(asked_for_traceback)
    if code := code or finished:
        sys.exit(code)


def _shows(argument: str) -> bool:
    """Whether Hydra takes it for a flag of ``SHOWING``: also for a beginning of one, or for a letter with its value."""
    flag = argument.partition("=")[0]
    return argument[:2] in ("-c", "-i") or (len(flag) > 3 and any(name.startswith(flag) for name in SHOWING))


@contextmanager
def _hidden_secrets() -> Iterator[None]:
    """Print what Hydra shows of a configuration without the secrets in it."""
    from vovnet.secrets import redacted

    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:
        print(redacted(said.getvalue(), settings=True), end="")
