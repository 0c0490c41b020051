"""Commands from Python: what ``python -m experiments.NAME`` does, with its results in hand."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.api.policies import read_results
from vovnet.arguments import refuse_arguments
from vovnet.command import Command, RefusedError
from vovnet.compose import register_resolvers, searched
from vovnet.errors import VoVNetError
from vovnet.explain import explain_hydra
from vovnet.options import commands, conf_dir
from vovnet.session import Session

if TYPE_CHECKING:
    import pandas as pd

MULTIRUN = ("-m", "--multirun")


@dataclass(frozen=True)
class Finished:
    """A command that has ended well.

    Attributes:
        folder: holds its files; of a sweep, the jobs' folders as well.
        results: what each job returned, in order, such as a ``ResultRow`` of ``eval``; empty for jobs that ran
            elsewhere (``launcher=slurm``).
    """

    folder: Path
    results: tuple[Any, ...]

    def to_pandas(self) -> "pd.DataFrame":
        """Its results.csv.

        Raises:
            VoVNetError: this command leaves none.
        """
        return read_results(self.folder)


def run(
    name: str,
    overrides: Sequence[str] = (),
    *,
    config_dir: str | Path | None = None,
    session: Session | None = None,
) -> Finished:
    """Run a command in this process; shows what the command shows.

    Args:
        overrides: as on the command line, ``-m`` included; of its other flags only ``config_dir`` has a counterpart.
        config_dir: a folder of option files of your own beside VoVNet's.
        session: keeps the model and the data for further calls; by default one of its own.

    Example:
        ``run("eval", ["-m", "policy.lambda_cost=0,0.05,0.1", "dataset=mini"])``

    Raises:
        VoVNetError: the sentence that the command would end with; of a sweep, the first job's.
    """
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException

    if name not in commands():
        raise VoVNetError(f"there is no command {name}; choose one of {', '.join(commands())}.")
    refuse_arguments(overrides)
    if flags := [text for text in overrides if text.startswith("-") and text not in MULTIRUN]:
        raise VoVNetError(f"vovnet.run takes no {flags[0]}; give overrides, -m, and config_dir=FOLDER.")
    entry = importlib.import_module(f"experiments.{name}")
    command = Command(name, entry.run, entry.show, entry.finish, is_stage=False, session=session or Session())
    given = [*searched(config_dir), *(text for text in overrides if text not in MULTIRUN)]
    register_resolvers()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            swept = not set(MULTIRUN).isdisjoint(overrides) or hydra.get_mode(name, given) == RunMode.MULTIRUN
            # A notebook's own logging stays as it is.
            (hydra.multirun if swept else hydra.run)(name, command, given, with_log_configuration=False)
        command.settle()
    except (HydraException, OmegaConfBaseException) as error:
        raise VoVNetError(explain_hydra(error)) from error
    except RefusedError as refused:
        raise refused.why from None
    command.finish_sweep(with_traceback=False)
    if command.errors:
        raise command.errors[0]
    place = command.folders[0] if command.sweep_folder is None else command.sweep_folder.path
    return Finished(place, tuple(command.results))
