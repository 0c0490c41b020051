"""The stages of a pipeline: commands one after another, and their results merged."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from vovnet.compose import quoted
from vovnet.errors import VoVNetError
from vovnet.jobs import JOB_FILE
from vovnet.ranks import PARENT
from vovnet.report.stages import write_stages
from vovnet.report.sweep_figure import plot_frontier
from vovnet.results.columns import ResultRow, evaluated
from vovnet.results.read import read_results
from vovnet.results.sweep import write_merged
from vovnet.results.write import RESULTS
from vovnet.schema import RunConfig, Stage
from vovnet.terminal import clock, say


def run_stages(config: RunConfig, folder: Path) -> list[ResultRow]:
    """Run every stage in its own process, then merge all results of the stages into ``folder``."""
    if config.pipeline is None:
        raise VoVNetError("this configuration has no pipeline.stages; start from the root config `pipeline`.")
    passed_on = [o for o in json.loads((folder / JOB_FILE).read_text())["overrides"] if not _own(o)]
    rows: list[ResultRow] = []
    stages, begun = config.pipeline.stages, time.monotonic()
    for number, stage in enumerate(stages):
        left = (time.monotonic() - begun) / number * (len(stages) - number) if number else None
        say(f"\nstage {number + 1} of {len(stages)}" + ("" if left is None else f", about {clock(left)} left"))
        place = folder / stage.name
        launched = config.launcher.kind != "basic" and stage.entry not in ("pipeline", "report")
        _run_stage(stage, folder, launched, [*passed_on, f"paths.runs={quoted(config.paths.runs)}"])
        if (place / RESULTS).exists():  # a training leaves none
            rows += [row for row in read_results(place / RESULTS) if row not in rows]
    write_merged(folder, rows)
    plot_frontier(evaluated(rows), folder / "frontier.png")
    page = write_stages(folder, config.pipeline.stages, [o for o in passed_on if not o.startswith("paths.")])
    say(f"every stage on one page: {page}")
    return rows


def _run_stage(stage: Stage, folder: Path, launched: bool, passed_on: list[str]) -> None:
    """Run a stage in a folder of its own; a launcher makes a sweep of one of a stage that is none."""
    given = {_key(o) for o in passed_on}  # what the user says wins over the stage's own
    own = [o.replace("{folder}", str(folder)) for o in stage.overrides if _key(o) not in given]
    place = quoted(str(folder / stage.name))
    if stage.sweep:
        where = [f"hydra.sweep.dir={place}"]
    elif launched:
        where = [f"hydra.sweep.dir={quoted(str(folder))}", f"hydra.sweep.subdir={quoted(stage.name)}"]
    else:
        where = [f"hydra.run.dir={place}"]
    arguments = [*(["-m"] if stage.sweep else []), *passed_on, *own, *where]
    say(f"{stage.name}: python -m experiments.{stage.entry} {' '.join(arguments)}")
    # Set by this process's own launcher; a stage explains its errors itself.
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    environment[PARENT] = str(os.getpid())
    done = subprocess.run([sys.executable, "-m", f"experiments.{stage.entry}", *arguments], env=environment)
    if done.returncode != 0:
        raise VoVNetError(
            f"stage {stage.name} ended with status {done.returncode}; its message is above. "
            "Fix it and run the same command again: what is computed is kept."
        )


def _own(override: str) -> bool:
    """Whether an override is the pipeline's and not its stages'."""
    key = _key(override)
    return key in ("experiment", "name", "paths.runs") or key.startswith("pipeline")


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
