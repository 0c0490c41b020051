"""A sweep of trainings as one table, with what its seeds have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vovnet.actions import Action, name_of
from vovnet.checks.check import Check, telling, told
from vovnet.files import write_json
from vovnet.outcomes.judge import MOST_UNREAD
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.read import read_summary
from vovnet.results.sweep import Job, sweep_jobs, write_jobs
from vovnet.results.write import write_or_remove
from vovnet.terminal import counted

Line = Mapping[str, Any]
# What a training is, whatever its seed.
METHOD = ("dataset", "objective", "procedure", "use_straight_through", "feature_mode", "action_space", "lambda_cost")


def merge_trainings(folder: Path) -> tuple[list[Line], list[Job], list[Check]]:
    """Write trainings.csv, jobs.csv and summary.json of a sweep of policy trainings, also when some failed.

    Returns:
        One line per finished policy training, the jobs that failed, and the check points over seeds.
    """
    jobs = [_with_result(job) for job in sweep_jobs(folder)]
    write_jobs(folder, jobs)
    failed = [job for job in jobs if job.error is not None]
    done = [job.folder for job in jobs if job.error is None]
    lines = sorted(
        (_line(place, read_summary(place)) for place in done), key=lambda line: tuple(map(str, line.values()))
    )
    write_or_remove(folder / "trainings.csv", lines)
    checks = collapse_checks(lines) + unread_checks(lines)
    facts = {"failed": len(failed), "checks": [check.as_json() for check in checks]}
    write_json(folder / SUMMARY, facts | provenance())
    return lines, failed, checks


def _with_result(job: Job) -> Job:
    """The job, failed where it left no summary."""
    if job.error is None and not (job.folder / SUMMARY).is_file():
        return replace(job, error=f"{job.folder / SUMMARY} is missing; run the same command again")
    return job


def _line(place: Path, summary: Mapping[str, Any]) -> Line:
    """A training's settings and the validation of its kept step, at its own lambda."""
    config, metrics = summary["config"], summary["validation"]
    policy = config["policy"]
    fixed = [value for name, value in metrics.items() if name.startswith("val/utility_")]
    return {
        "dataset": config["dataset"]["name"],
        "objective": policy["objective"]["name"],
        "procedure": policy.get("procedure", "one_step"),
        "use_straight_through": policy["use_straight_through"],
        "feature_mode": policy["feature_mode"],
        "action_space": menu_name(policy),
        "lambda_cost": policy["lambda_cost"],
        "seed": summary["seed"],
        **{name.removeprefix("val/"): value for name, value in metrics.items()},
        "best_fixed_utility": max(fixed),
        "unread": max(summary["unread"].values()),
        "folder": place.name,
    }


def menu_name(policy: Mapping[str, Any]) -> str:
    """The action space of a policy's configuration, or the labels of its own looks."""
    looks = policy.get("looks")
    return str(policy["action_space"]) if looks is None else name_of([Action.said(look) for look in looks])


def unread_checks(lines: Sequence[Line]) -> list[Check]:
    """The trainings whose answers, under some action, could not be read."""
    return [
        Check(f"{line['folder']}: learned from answers that could be read", False, f"{line['unread']:.1%} could not")
        for line in lines
        if line["unread"] > MOST_UNREAD
    ]


def collapse_checks(lines: Sequence[Line]) -> list[Check]:
    """Over the seeds of one method: a policy that collapsed to one action is no better than that action."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(line.get(name) for name in METHOD), []).append(line)
    checks, names = [], telling(lines, ("feature_mode", "action_space"))
    for group in groups.values():
        if len(group) < 2:
            continue
        gains = [line["utility"] - line["best_fixed_utility"] for line in group]
        first = group[0]
        kind = ", straight-through" * (first["objective"] == "mixture" and first["use_straight_through"])
        kind += ", sequential" * (first.get("procedure") == "sequential")
        kind += told(first, names)
        name = f"{first['dataset']}, {first['objective']}{kind}, λ = {first['lambda_cost']:g}: utility above that of "
        rates = [[line.get(f"rate_{action}", 0.0) for action in ("no", "coarse", "full")] for line in group]
        seen = "; ".join(
            f"{gain:+.4f} at {'/'.join(f'{rate:.2f}' for rate in row)}" for gain, row in zip(gains, rates, strict=True)
        )
        checks.append(
            Check(f"{name}every fixed action for each of {counted(len(group), 'seed')}", min(gains) > 0, seen)
        )
    return checks
