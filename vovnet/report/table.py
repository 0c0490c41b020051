"""A small table on the terminal at the end of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from vovnet.checks.check import Check, telling
from vovnet.outcomes.inspect import TableSummary
from vovnet.outcomes.store import FORMAT
from vovnet.provenance import SUMMARY
from vovnet.report.labels import Column, cell, described, rate_column, setting, with_own_rates
from vovnet.results.columns import DESCRIBED, RATES, ResultRow, record
from vovnet.results.read import read_summary
from vovnet.results.sweep import Job
from vovnet.terminal import counted, say, shown

if TYPE_CHECKING:
    from vovnet.analyses.calibrate import Calibrated
    from vovnet.analyses.profile import ProfileRow  # imports the models
    from vovnet.outcomes.rescore import Rescored
    from vovnet.report.report import Report  # imports this module
    from vovnet.report.runs import Run


class PlainConsole(Console):
    """A console that reads neither markup nor emoji names in the texts and cells that it prints."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text and cell on its way to the terminal."""
        return super().render_str(shown(text), **options)


Line = Mapping[str, Any]
ROWS = (
    Column("dataset", "dataset"), Column("setting", "policy"), described("accuracy"),
    Column("interval", "95% interval", 0), described("avg_cost"), described("avg_vision_tokens"),
    *map(described, RATES),
)  # fmt: skip
UNREADABLE = Column("unread", DESCRIBED["unparsed_rate"].label, 0, style="red")
TRAININGS = (
    *(Column(name, name) for name in ("folder", "dataset", "objective", "procedure")), Column("seed", "seed", 0),
    Column("lambda_cost", "\u03bb", 0), Column("acc", "accuracy", 4), Column("cost", "cost", 4),
    Column("utility", "utility", 4), Column("best_fixed_utility", "best fixed", 4),
    *(Column(f"rate_{name.lower()}", name, 3) for name in ("NO", "COARSE", "FULL")),  # binary has no COARSE
)  # fmt: skip
SLICES = (
    Column("slice", "slice"), Column("value", "value"), Column("num_samples", "samples", 0), Column("rate", "share", 4),
    Column("score", "score", 4), Column("avg_cost", "cost", 4),
)  # fmt: skip
PROFILE = (
    Column("stage", "stage"), Column("action", "action"), Column("batch_size", "batch", 0),
    Column("latency_p50_ms", "p50 ms", 2),
    Column("latency_p90_ms", "p90 ms", 2), described("avg_vision_tokens", 1), described("avg_text_tokens", 1),
    Column("avg_generated_tokens", "generated", 1), Column("mem_peak_mb", "peak MB", 1),
)  # fmt: skip
CALIBRATED = (
    Column("dataset", "dataset"), Column("lambda", "\u03bb", 0), described("accuracy"),
    Column("interval", "95% interval", 0), described("avg_cost"), Column("cost_interval", "95% interval", 0),
    Column("full", "always_full", 0), Column("num_samples", "questions", 0),
)  # fmt: skip
REPORT = (
    Column("dataset", "dataset"), Column("setting", "policy"), described("accuracy"),
    Column("interval", "95% interval", 0), described("avg_cost"), Column("cost_of_full", "of FULL", 3),
    Column("gain", "\u0394AIQ", 0),
)  # fmt: skip
STORE = (
    *(Column(name, name) for name in ("table", "data set", "backbone", "dtype", "prompt", "detail")),
    Column("rows", "rows", 0), Column("MB", "MB", 1),
)  # fmt: skip


RESCORED = (
    Column("dataset", "dataset"), Column("look", "look"), Column("answers", "answers", 0),
    Column("changed", "changed", 0), Column("higher", "higher", 0), Column("lower", "lower", 0),
    Column("accuracy_before", "before", 4), Column("accuracy_after", "after", 4),
    Column("unparsed_before", "unread before", 4), Column("unparsed_after", "after", 4),
)  # fmt: skip
BESIDE = {"nll": "NLL of the references", "state": "what the look yields for policy=sequential"}  # inner tables
EXAMPLES = 5  # of changed scores
REASONS = 5  # of failures and of runs with unread answers, as many as are shown
FEW = 12  # check points that are all printed


def print_table(columns: Sequence[Column], lines: Sequence[Line]) -> PlainConsole:
    """Print lines under headings, numbers to the right; returns the console for what belongs below."""
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=200)  # a table in a log file
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        justify: JustifyMethod = "left" if column.digits is None else "right"
        table.add_column(column.heading, justify=justify, no_wrap=True, style=column.style or None)
    for line in lines:
        table.add_row(*(cell(line.get(column.name), column) for column in columns))
    console.print(table)
    return console


def rows_view(rows: Sequence[ResultRow]) -> tuple[Sequence[Column], list[dict[str, Any]]]:
    """Results as people see them: columns and lines."""
    several = [
        name for name in ("engine", "scoring_rule", "dtype", "mode") if len({getattr(row, name) for row in rows}) > 1
    ]
    lines = [
        record(row)
        | {
            "dataset": row.shown_dataset,
            "setting": " ".join([setting(row), *(str(getattr(row, name) or "") for name in several)]),
            "interval": f"{row.accuracy_ci_low:.4f}-{row.accuracy_ci_high:.4f}",
            "unread": f"{row.unparsed_rate * row.num_samples:.0f} ({row.unparsed_rate:.1%})",
        }
        for row in rows
    ]
    shown = with_own_rates(ROWS, lines, rate_column())
    return [*shown, UNREADABLE] if any(row.unparsed_rate for row in rows) else shown, lines


def trainings_view(lines: Sequence[Line]) -> tuple[Sequence[Column], list[dict[str, Any]]]:
    """Trainings of a sweep as people see them: columns and lines."""
    known = {column.name for column in TRAININGS}
    own = dict.fromkeys(name for line in lines for name in line if name.startswith("rate_") and name not in known)
    looks = (Column(name, name.removeprefix("rate_").upper(), 3) for name in own)
    apart = (Column(name, name) for name in telling(lines, ("feature_mode", "action_space")))
    return [*TRAININGS[:4], *apart, *TRAININGS[4:], *looks], [
        {**line, "lambda_cost": f"{line['lambda_cost']:g}"} for line in lines
    ]


def print_rows(rows: Sequence[ResultRow], folder: Path, failed: Sequence[Job] = ()) -> None:
    """Print results, rows that were no question, failures and where the files are."""
    console = print_table(*rows_view(rows))
    if skipped := read_summary(folder).get("rows_skipped") if (folder / SUMMARY).exists() else ():
        console.print(
            f"{counted(len(skipped), 'row')} skipped, the first since {skipped[0]}", style="red", soft_wrap=True
        )
    _print_end(console, folder, failed)


def print_trainings(lines: Sequence[Line], checks: Sequence[Check], folder: Path, failed: Sequence[Job]) -> None:
    """Print a sweep of trainings: what each policy does on its validation questions, at its own lambda."""
    console = print_table(*trainings_view(lines))
    print_checks(checks)
    _print_end(console, folder, failed)


def print_slices(lines: Sequence[Line]) -> None:
    """Print error slices."""
    print_table(SLICES, lines)


def print_profile(rows: "Sequence[ProfileRow]", folder: Path) -> None:
    """Print latencies, tokens and memory of block F1."""
    _print_end(print_table(PROFILE, [vars(row) for row in rows]), folder)


def print_calibrated(found: "Sequence[Calibrated]", folder: Path) -> None:
    """Print calibrated lambdas with what to expect of them, and the command that uses the first."""
    lines = [
        vars(one)
        | {
            "lambda": f"{one.lambda_cost:.4g}",
            "interval": f"{one.accuracy_ci_low:.4f}-{one.accuracy_ci_high:.4f}",
            "cost_interval": _between(one.avg_cost_ci_low, one.avg_cost_ci_high, "{:.4f}-{:.4f}"),
            "full": f"{one.full_accuracy:.4f} at {one.full_cost:.4f}",
        }
        for one in found
    ]
    console = print_table(CALIBRATED, lines)
    console.print(f"use it: python -m experiments.eval policy.lambda_cost={found[0].lambda_cost:.6g}")
    _print_end(console, folder)


def print_report(report: "Report", folder: Path) -> None:
    """Print a report's main table, what it compares, its failed check points and where it is."""
    gains = ["" if line.get("delta_aiq") is None else f"{line['delta_aiq']:+.4f}" for line in report.main]
    console = print_table(REPORT, [{**line, "gain": gain} for line, gain in zip(report.main, gains, strict=True)])
    for line in report.comparison:
        console.print(
            f"{line['dataset']}: {line['first']} less {line['second']}: accuracy {line['difference']:+.4f} "
            f"({_between(line['ci_low'], line['ci_high'])}, p = {line['p_value']:.2g}, {line['test']}), "
            f"cost {line['cost_difference']:+.4f} ({_between(line['cost_ci_low'], line['cost_ci_high'])}); "
            f"differs in {line['differs'] or 'nothing'}",
            soft_wrap=True,
        )
    for sentence in report.equal_cost:
        console.print(sentence, soft_wrap=True)
    for folder_name, check, passed, observed in report.found.checks:
        if not passed:
            console.print(f"FAIL  {folder_name}: {check}: {observed}", soft_wrap=True)
    for sentence in _not_counted(report.found.runs):
        console.print(sentence, soft_wrap=True)
    for sentence in report.found.unfinished:
        console.print(f"left out: {sentence}", style="red", soft_wrap=True)
    count = len(report.found.runs)
    console.print(f"{counted(count, 'run')}, {counted(len(report.figures), 'figure')}; page: {folder / 'report.html'}",
                  soft_wrap=True)  # fmt: skip
    _print_end(console, folder)


def _not_counted(runs: "Sequence[Run]") -> list[str]:
    """Rows of the data that are no question, and answers that score 0 since they could not be read."""
    skipped = {run.row.shown_dataset: len(run.summary.get("rows_skipped", ())) for run in runs}
    unread = [
        f"{run.row.shown_dataset}, {setting(run.row)}: {run.row.unparsed_rate * run.row.num_samples:.0f} of "
        f"{counted(run.row.num_samples, 'answer')} could not be read and score 0"
        for run in runs
        if run.row.unparsed_rate
    ]
    more = (
        [f"{counted(len(unread) - REASONS, 'more run')} have answers that could not be read"]
        if len(unread) > REASONS
        else []
    )
    said = [
        f"{name}: {counted(count, 'row')} skipped (dataset.on_error=skip)" for name, count in skipped.items() if count
    ]
    return [*said, *unread[:REASONS], *more]


def print_checks(checks: Sequence[Check]) -> None:
    """Print check points with what was seen."""
    for check in checks:
        say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.observed}")


def print_checks_of(folder: Path) -> None:
    """Print the check points of a finished run or sweep; of many, those that failed and how many passed."""
    checks = [Check(**one) for one in read_summary(folder).get("checks", ())]
    failed = [check for check in checks if not check.passed]
    print_checks(checks if len(checks) <= FEW else failed)
    if len(checks) > FEW:
        say(f"{len(checks) - len(failed)} of {len(checks)} check points passed")


def print_store(tables: Sequence[TableSummary]) -> None:
    """Print one line per table of the outcome store."""
    names, lines = [column.name for column in STORE], []
    for item in tables:
        damaged = f" damaged={item.damaged}" if item.damaged else ""
        damaged += "" if item.format == FORMAT else " (of another version, never read: prune it)"
        *cells, detail = _of_table(item) or ("?", "?", "?", "?", "table.json is missing or damaged")
        name = "  " * item.id.count("/") + Path(item.id).name
        values = (name, *cells, detail + damaged, item.rows, item.bytes / 2**20)
        lines.append(dict(zip(names, values, strict=True)))
    print_table(STORE, lines)


def print_rescored(found: "Rescored") -> None:
    """Print what another scorer moves, with some of the answers that it judges otherwise."""
    console = print_table(RESCORED, found.lines)
    console.print(f"before: {found.before}; after: {found.after}", soft_wrap=True)
    for one in found.changes[:: max(1, len(found.changes) // EXAMPLES)][:EXAMPLES]:
        said = f"{one.prediction[:80]!r} for {', '.join(one.sample.answers)[:40]!r}"
        console.print(f"{one.dataset} {one.sample.id} {one.look}: {said}: {one.before.value:g} -> {one.after.value:g}",
                      soft_wrap=True)  # fmt: skip


def _of_table(item: TableSummary) -> tuple[str, ...] | None:
    """Data set, backbone, dtype, prompt and what else tells tables apart; None where the description is damaged."""
    facts = item.facts
    try:
        if "scorers" in facts and "of" in facts:
            named = [f"{name} version {version}" for name, version, *_ in facts["scorers"]]
            return "", "", "", "", f"scores by {', '.join(named)}"
        if "given_by" in facts:
            return "", "", "", "", f"scores that {facts['given_by']} has given"
        if "policy" in facts and "of" in facts:
            return "", "", "", "", f"values of the policy file with SHA-256 {facts['policy'][:12]}"
        if "of" in facts:
            return "", "", "", "", BESIDE[item.branch]
        dataset, backbone = facts["dataset"], facts["backbone"]
        if "imported" in backbone:
            split = f"{dataset['name']}/{dataset['split']}"
            return split, str(backbone["imported"]), "", "", f"imported from {backbone['engine']}"
        detail = {key: facts[key] for key in ("order", "resolution", "cache_reuse", "pictures") if key in facts}
        return (
            f"{dataset['name']}/{dataset['split']}",
            backbone["fingerprint"][:12],
            str(backbone["dtype"]),
            repr(facts["prompts"][0][0])[:40],
            " ".join(f"{k}={list(v.values()) if isinstance(v, dict) else v}" for k, v in detail.items()),
        )
    except (LookupError, TypeError, ValueError):
        return None


def _between(low: float | None, high: float | None, shape: str = "{:+.4f} to {:+.4f}") -> str:
    """An interval, or why there is none."""
    return "too few images" if low is None or high is None else shape.format(low, high)


def _print_end(console: PlainConsole, folder: Path, failed: Sequence[Job] = ()) -> None:
    alike: dict[str | None, list[Job]] = {}
    for job in failed:
        alike.setdefault(job.error, []).append(job)
    for error, jobs in list(alike.items())[:REASONS]:
        more = f" and {counted(len(jobs) - 1, 'more job')}" if len(jobs) > 1 else ""
        console.print(f"failed: {' '.join(jobs[0].overrides)}{more}: {error}", style="red", soft_wrap=True)
    if others := sum(map(len, list(alike.values())[REASONS:])):
        console.print(f"failed: {counted(others, 'more job')}, see {folder / 'jobs.csv'}", style="red", soft_wrap=True)
    if (picture := folder / "frontier.png").exists():
        console.print(f"picture: {picture}", soft_wrap=True)
        console.print(f"next: python -m experiments.report runs=[{folder}]", soft_wrap=True)
    console.print(f"outputs: {folder}", soft_wrap=True)
