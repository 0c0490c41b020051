"""Finding finished evaluations under folders, and telling which may be compared."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vovnet.actions import USUAL, Action
from vovnet.errors import VoVNetError
from vovnet.files import read_object
from vovnet.jobs import JOB_FILE
from vovnet.provenance import SUMMARY
from vovnet.report.predictions import Predictions, predictions_of
from vovnet.results.columns import ResultRow, order, same_row
from vovnet.results.read import read_results
from vovnet.results.write import RESULTS
from vovnet.schema import RunConfig, VisionBudgetConfig
from vovnet.vlm.reading import READING

REASONS = 5  # why folders are left out, as many as are shown


@dataclass(frozen=True)
class Run:
    """One finished evaluation.

    Attributes:
        folder: holds its files.
        row: its line of results.csv.
        summary: its summary.json.
    """

    folder: Path
    row: ResultRow
    summary: Mapping[str, Any]

    def check(self) -> None:
        """Refuse a summary that lacks what comparisons need, or that belongs to another results.csv.

        Raises:
            VoVNetError: it is damaged.
        """
        try:
            self.protocol, self.menu  # noqa: B018
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise VoVNetError(
                f"{self.folder / SUMMARY} lacks or garbles {error}; run that evaluation again."
            ) from error
        if not same_row(self.row, self.summary["result"]):
            raise VoVNetError(
                f"{self.folder / RESULTS} and its {SUMMARY} tell different results; run that evaluation again."
            )

    @cached_property
    def menu(self) -> tuple[Action, ...]:
        """The looks that it chose among; of older runs, which do not say, the usual ones."""
        found = self.summary.get("menu")
        return USUAL if found is None else tuple(map(Action.said, found.values()))

    @cached_property
    def protocol(self) -> dict[str, str]:
        """What must be equal for two runs' scores and costs to be compared, by the key that sets it."""
        config, row = self.summary["config"], self.row
        decoding = ("max_new_tokens", "num_beams", "do_sample", "temperature", "random_fallback")
        facts: dict[str, Any] = {
            "dataset": row.dataset,
            "split": row.split,
            "questions and images": self.summary["dataset"]["fingerprint"][:12],
            "eval.max_samples": row.num_samples,
            "policy.cost_unit": row.cost_unit,
            "metric": row.metric,
            "dataset.rule": row.scoring_rule,
            "prompt": _prompts(config["dataset"]),
            "backbone": self.summary["backbone"]["fingerprint"][:12],
            "engine": row.engine,
            **{name: self.summary.get("reading", {}).get(name) for name in READING},  # older runs do not say
            "backbone.dtype": config["backbone"]["dtype"],
            "backbone.prompt_order": config["backbone"]["prompt_order"],
            "vision_budget": config["vision_budget"],
            **{f"eval.{name}": config["eval"][name] for name in decoding},
        }
        if row.decoding_seed is not None:
            facts["eval.seed"] = row.decoding_seed
        return {name: json.dumps(value, sort_keys=True) for name, value in facts.items()}

    @cached_property
    def predictions(self) -> Predictions:
        """Its predictions.

        Raises:
            VoVNetError: missing, damaged, or not those that its row was made of.
        """
        return predictions_of(self.folder, self.row)

    @property
    def budget(self) -> VisionBudgetConfig:
        """What an image might cost."""
        return TypeAdapter(VisionBudgetConfig).validate_python(self.summary["config"]["vision_budget"])

    @cached_property
    def config(self) -> RunConfig:
        """The run's configuration, typed again.

        Raises:
            VoVNetError: an older version wrote it.
        """
        try:
            return TypeAdapter(RunConfig).validate_python(self.summary["config"])
        except ValidationError as error:
            raise VoVNetError(f"{self.folder / SUMMARY} holds a configuration of another version of VoVNet.") from error


@dataclass(frozen=True)
class Found:
    """What lies under some folders.

    Attributes:
        runs: finished evaluations, each setting once (the newest).
        checks: check points of all folders: (folder, name, passed, observed).
        unfinished: one sentence for every reason why folders hold no whole run.
        profiles: lines of profile.csv (block F1), each with its folder, data set, split and device.
    """

    runs: tuple[Run, ...]
    checks: tuple[tuple[str, str, bool, str], ...]
    unfinished: tuple[str, ...]
    profiles: tuple[Mapping[str, Any], ...]


def find_runs(folders: Sequence[Path], besides: Path | None = None) -> Found:
    """Every finished evaluation under some folders.

    Args:
        besides: a folder to pass over, the one that the report itself is being written into.

    Raises:
        VoVNetError: a folder does not exist, nothing finished is there, or a results.csv cannot be read.
    """
    runs: dict[str, Run] = {}
    checks: dict[tuple[str, str], tuple[str, str, bool, str]] = {}  # a pipeline repeats its stages' checks
    unfinished, profiles = dict[str, list[str]](), dict[Path, list[dict[str, Any]]]()
    for folder in folders:
        if not folder.is_dir():
            raise VoVNetError(f"{folder} is not a folder; give runs=[FOLDER,…] of evaluations, sweeps or pipelines.")
        for place in _result_folders(folder):
            if besides is not None and place.resolve() == besides.resolve():
                continue
            name = os.path.relpath(place, folder.parent)
            summary = _summary(place)
            if summary is None and _is_running(place, besides):
                continue
            if summary is None:
                if why := _why_unfinished(place):
                    unfinished.setdefault(why, []).append(name)
                continue
            if "studies" in summary:  # an earlier report
                continue
            try:
                for check in summary.get("checks", ()):
                    checks[check["name"], check["observed"]] = (name, check["name"], check["passed"], check["observed"])
            except (LookupError, TypeError) as error:
                raise VoVNetError(f"{place / SUMMARY} has damaged checks ({error}); run that again.") from error
            if "profile" in summary:
                profiles[place.resolve()] = _profile_lines(name, place, summary)
            if "result" in summary:
                run = Run(place, read_results(place / RESULTS)[0], summary)
                run.check()
                key = json.dumps([run.row.config_hash, run.protocol, run.row.mode, run.row.cache_reuse])
                if key not in runs or _age(runs[key]) < _age(run):
                    runs[key] = run
    if not runs:
        names = ", ".join(map(str, folders))
        left = f" ({_left_out(unfinished)[0]})" if unfinished else ""
        raise VoVNetError(f"{names} holds no finished evaluation{left}; run `python -m experiments.eval` first.")
    timed = tuple(line for lines in profiles.values() for line in lines)
    ordered = sorted(runs.values(), key=lambda run: order(run.row))  # whatever their folders are called
    return Found(tuple(ordered), tuple(checks.values()), _left_out(unfinished), timed)


def _profile_lines(name: str, place: Path, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        config = summary["config"]
        dataset = config["dataset"].get("label") or config["dataset"]["name"]
        what = {"folder": name, "dataset": f"{dataset}/{config['eval']['split']}"}
        return [{**what, "device": summary["device"], **line} for line in summary["profile"]]
    except (LookupError, TypeError) as error:
        raise VoVNetError(f"{place / SUMMARY} holds a damaged profile ({error}); run that again.") from error


def _result_folders(folder: Path) -> Iterator[Path]:
    """Folders with a file that a run leaves; the outcome store and data sets hold none."""
    for place, inside, files in os.walk(folder):
        inside[:] = sorted(name for name in inside if name not in ("outcomes", "steps") and not name.startswith("."))
        if {SUMMARY, JOB_FILE, RESULTS} & set(files):
            yield Path(place)


def _summary(place: Path) -> Mapping[str, Any] | None:
    try:
        return read_object(place / SUMMARY)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise VoVNetError(f"{place / SUMMARY} cannot be read ({said}); run that evaluation again.") from error


def _is_running(place: Path, report: Path | None) -> bool:
    """Whether a folder is that of the pipeline of which this report is a stage."""
    if report is None or place.resolve() not in report.resolve().parents:
        return False
    try:
        return read_object(place / JOB_FILE).get("status") == "running"
    except (OSError, ValueError):
        return False


def _left_out(unfinished: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A sentence for each reason, the folders counted; for many reasons, the first and how many folders there are."""
    said = []
    for why, names in unfinished.items():
        others = f" and {len(names) - 1:,} more folders" if len(names) > 1 else ""
        said.append(f"{names[0]}{others}: {why}")
    more = sum(map(len, list(unfinished.values())[REASONS:]))
    return (*said[:REASONS], *([f"{more:,} more folders for {len(said) - REASONS} other reasons"] if more else []))


def _why_unfinished(place: Path) -> str:
    """Empty for a folder of a command that leaves no summary, such as ``experiments.store``."""
    try:
        job = read_object(place / JOB_FILE)
        if job["status"] == "done" and not (place / RESULTS).exists():
            return ""
        return str(job.get("error") or f"half-written, the job was {job['status']}")
    except (OSError, ValueError, LookupError):
        return "half-written, its summary.json is missing"


def _age(run: Run) -> int:
    return (run.folder / SUMMARY).stat().st_mtime_ns


def _prompts(dataset: Mapping[str, Any]) -> list[Any]:
    """Prompt templates of a set and of its parts, and whether images stand in them."""
    parts = dataset.get("parts") or {}
    own = [dataset["prompt_template"], dataset["open_template"], *(["interleaved"] * dataset.get("interleave", False))]
    return [*own, *(_prompts(parts[name]) for name in sorted(parts))]
