"""The configuration of a job or of ranks, left in their folder for processes that know no Hydra."""

from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vovnet.errors import VoVNetError
from vovnet.explain import explain_validation
from vovnet.files import read_object, write_json
from vovnet.rank_errors import clear_errors
from vovnet.registry import TRUSTED
from vovnet.schema import RunConfig

CONFIG_FILE = "config.json"


def write_config(config: RunConfig, folder: Path) -> None:
    """Leave a job's configuration in its folder, and nothing that tasks of an earlier run left there."""
    clear_errors(folder)
    write_json(folder / CONFIG_FILE, asdict(config))


def read_config(folder: Path) -> RunConfig:
    """Read a job's configuration.

    Raises:
        VoVNetError: it cannot be read, or does not fit the code, which may have changed while the job waited.
    """
    try:
        return TypeAdapter(RunConfig).validate_python(read_object(folder / CONFIG_FILE), context=TRUSTED)
    except ValidationError as error:  # a ValueError too
        raise VoVNetError(f"{folder / CONFIG_FILE}: {explain_validation(error)}; submit the job again.") from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise VoVNetError(f"{folder / CONFIG_FILE} is damaged ({said}); submit the job again.") from error
