"""What sbatch is given for the jobs of a sweep, as submitit names it."""

from collections.abc import Mapping
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.schema import SlurmLauncher

ANSWER = "submitit reads what sbatch prints"
LOGS = "what jobs print is under slurm/ in the sweep's folder"
OWN = {  # options that the sweep sets itself, or that would keep it from finding its jobs, and why
    "array": "launcher.array_parallelism=N bounds how many jobs run at once",
    "job_name": "a sweep finds its jobs by it, and name=NAME names the sweep",
    "output": LOGS,
    "error": LOGS,
    "clusters": "set SLURM_CLUSTERS instead, so that squeue asks the same cluster",
    "signal": "a job that is preempted or out of time is requeued by the signal that it gets",
    "wrap": "the jobs have a script",
    **dict.fromkeys(("parsable", "quiet", "test_only", "wait", "help", "usage", "version"), ANSWER),
}

FLAGS = ("requeue", "no_requeue")


def sbatch_parameters(launcher: SlurmLauncher, name: str) -> dict[str, Any]:
    """The launcher's keys as submitit names them.

    Raises:
        VoVNetError: an additional parameter is the sweep's own, or a time limit that cannot be read.
    """
    extra = _extra(launcher.additional_parameters)
    parameters = {
        "job_name": name,
        "partition": launcher.partition,
        "account": launcher.account,
        "qos": launcher.qos,
        "constraint": launcher.constraint,
        "nodes": launcher.nodes,
        "ntasks_per_node": launcher.tasks_per_node,
        "gpus_per_node": launcher.gpus_per_node,
        "cpus_per_task": launcher.cpus_per_task,
        "mem": None if launcher.mem_gb is None else f"{round(launcher.mem_gb * 1024)}M",
        # submitit judges by it whether a job has reached its limit, also where another parameter sets the limit.
        "time": _minutes(extra["time"]) if "time" in extra else launcher.timeout_min,
        "array_parallelism": launcher.array_parallelism,
        "setup": list(launcher.setup) or None,
        "srun_args": ["--kill-on-bad-exit=1"],  # a task that failed would leave the others waiting for it
        "additional_parameters": extra,
    }
    return {key: value for key, value in parameters.items() if value is not None}


def _extra(given: Mapping[str, Any]) -> dict[str, Any]:
    """Further options of sbatch; false leaves one out, and a list is joined by commas.

    Without ``requeue`` clusters may refuse what preempted jobs depend on.
    """
    extra: dict[str, Any] = {"requeue": True}
    for written, value in given.items():
        key = written.strip("-").replace("-", "_")
        if own := next((name for name in OWN if name.startswith(key)), None):  # sbatch takes abbreviations
            raise VoVNetError(f"launcher.additional_parameters.{written} cannot be set: {OWN[own]}; leave it out.")
        if key in FLAGS and not isinstance(value, bool):
            raise VoVNetError(f"launcher.additional_parameters.{written}={value} is no flag; set it to true or false.")
        extra[key] = ",".join(value) if isinstance(value, tuple) else value
    if extra["requeue"] is False or extra.get("no_requeue"):
        extra |= {"requeue": False, "no_requeue": True}
    return {key: value for key, value in extra.items() if value is not False}


def _minutes(limit: object) -> int:
    """A time limit as sbatch reads it (60, 60:00, 1:00:00, 2-12, 2-12:00, 2-12:00:00) in minutes, rounded up."""
    days, dash, rest = str(limit).rpartition("-")
    try:
        parts = [int(part) for part in rest.split(":")]
        hours, minutes, seconds = [*parts, 0, 0][:3] if dash or len(parts) == 3 else [0, *parts, 0][:3]
        return (int(days or 0) * 24 + hours) * 60 + minutes + bool(seconds)
    except ValueError as error:
        raise VoVNetError(
            f"launcher.additional_parameters.time={limit} is no time limit; set launcher.timeout_min in minutes."
        ) from error
