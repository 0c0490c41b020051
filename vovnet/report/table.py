"""A small table on the terminal at the end of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vovnet.outcomes.inspect import TableSummary
from vovnet.outcomes.store import FORMAT
from vovnet.results.check import Check
from vovnet.results.readable import is_unreadable
from vovnet.results.row import ResultRow
from vovnet.results.sweep import Job
from vovnet.terminal import say, shown

if TYPE_CHECKING:
    from vovnet.report.report import Report  # imports this module
    from vovnet.results.calibrate import Calibrated
    from vovnet.results.profile import ProfileRow  # imports the models


class PlainConsole(Console):
    """A console that reads neither markup nor emoji names in the texts and cells that it prints."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text and cell on its way to the terminal."""
        return super().render_str(shown(text), **options)


def setting(row: ResultRow) -> str:
    """What tells a row apart, for people."""
    parts = [row.baseline_name or "VoVNet"]
    for label, value in (
        ("\u03bb", row.lambda_cost), ("", row.uncertainty_metric), ("t", row.threshold), ("", row.pruning_mode),
        ("keep", row.pruning_ratio), ("side", row.long_side), ("", row.oracle_rule), ("fallback", row.fallback_mode),
        ("entropy", row.fallback_entropy_threshold), ("margin", row.fallback_margin_threshold),
    ):  # fmt: skip
        if value is not None:
            shown = value if isinstance(value, str) else f"{value:g}"
            parts.append(f"{label}={shown}" if label else str(shown))
    if row.baseline_name == "random_policy_matched":
        parts.append(f"seed={row.seed}")
    if row.uncertainty_metric and row.vision_mode == "coarse":
        parts.append("coarse")
    if not row.baseline_name:
        parts += [str(row.objective)] * (row.objective != "value") + [str(row.action_space)] * (
            row.action_space != "ternary"
        )
    return " ".join(parts)


def print_rows(rows: Sequence[ResultRow], folder: Path, failed: Sequence[Job] = ()) -> None:
    """Print results, failures and where the files are."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("dataset", "policy"):
        table.add_column(name, no_wrap=True)
    for name in ("accuracy", "95% interval", "cost", "vision tokens", "NO", "COARSE", "FULL"):
        table.add_column(name, justify="right", no_wrap=True)
    unread = any(is_unreadable(row) for row in rows)
    if unread:
        table.add_column("unreadable", justify="right", no_wrap=True, style="red")
    several = [name for name in ("scoring_rule", "dtype", "mode") if len({getattr(row, name) for row in rows}) > 1]
    for row in rows:
        table.add_row(
            f"{row.dataset}/{row.split}",
            " ".join([setting(row), *(str(getattr(row, name) or "") for name in several)]),
            f"{row.accuracy:.4f}",
            f"{row.accuracy_ci_low:.4f}-{row.accuracy_ci_high:.4f}",
            f"{row.avg_cost:.4f}",
            f"{row.avg_vision_tokens:.1f}",
            *(f"{rate:.3f}" for rate in (row.action_rate_no, row.action_rate_coarse, row.action_rate_full)),
            *([f"{row.unparsed_rate:.1%}"] if unread else []),
        )
    console.print(table)
    _print_end(console, folder, failed)


def print_trainings(
    lines: Sequence[Mapping[str, Any]], checks: Sequence[Check], folder: Path, failed: Sequence[Job]
) -> None:
    """Print a sweep of trainings: what each policy does on its validation questions, at its own lambda."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("folder", "dataset", "objective"):
        table.add_column(name, no_wrap=True)
    shown = ("seed", "\u03bb", "accuracy", "cost", "utility", "best fixed", "NO", "COARSE", "FULL")
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        numbers = (line[name] for name in ("acc", "cost", "utility", "best_fixed_utility"))
        rates = (line.get(f"rate_{name}") for name in ("no", "coarse", "full"))  # binary has no COARSE
        table.add_row(
            *(line[name] for name in ("folder", "dataset", "objective")),
            str(line["seed"]),
            f"{line['lambda_cost']:g}",
            *(f"{number:.4f}" for number in numbers),
            *("" if rate is None else f"{rate:.3f}" for rate in rates),
        )
    console.print(table)
    print_checks(checks)
    _print_end(console, folder, failed)


def print_slices(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print error slices."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("slice", "value"):
        table.add_column(name, no_wrap=True)
    for name in ("samples", "share", "score", "cost"):
        table.add_column(name, justify="right")
    for line in lines:
        numbers = (f"{line[name]:.4f}" for name in ("rate", "score", "avg_cost"))
        table.add_row(line["slice"], line["value"], str(line["num_samples"]), *numbers)
    _console().print(table)


def print_profile(rows: "Sequence[ProfileRow]", folder: Path) -> None:
    """Print latencies, tokens and memory of block F1."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "action"):
        table.add_column(name, no_wrap=True)
    for name in ("p50 ms", "p90 ms", "vision tokens", "text tokens", "generated", "peak MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        counts = (row.avg_vision_tokens, row.avg_text_tokens, row.avg_generated_tokens, row.mem_peak_mb)
        times = (f"{row.latency_p50_ms:.2f}", f"{row.latency_p90_ms:.2f}")
        table.add_row(row.stage, row.action, *times, *("" if c is None else f"{c:.1f}" for c in counts))
    console = _console()
    console.print(table)
    console.print(f"outputs: {folder}", soft_wrap=True)


def print_calibrated(found: "Sequence[Calibrated]", folder: Path) -> None:
    """Print calibrated lambdas with what to expect of them, and the command that uses the first."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("dataset", "\u03bb", "accuracy", "95% interval", "cost", "95% interval", "always_full", "questions"):
        table.add_column(name, no_wrap=True, justify="left" if name == "dataset" else "right")
    for one in found:
        table.add_row(
            one.dataset,
            f"{one.lambda_cost:.4g}",
            f"{one.accuracy:.4f}",
            f"{one.accuracy_ci_low:.4f}-{one.accuracy_ci_high:.4f}",
            f"{one.avg_cost:.4f}",
            _between(one.avg_cost_ci_low, one.avg_cost_ci_high, "{:.4f}-{:.4f}"),
            f"{one.full_accuracy:.4f} at {one.full_cost:.4f}",
            str(one.num_samples),
        )
    console = _console()
    console.print(table)
    console.print(f"use it: python -m experiments.eval policy.lambda_cost={found[0].lambda_cost:.6g}")
    console.print(f"outputs: {folder}", soft_wrap=True)


def print_report(report: "Report", folder: Path) -> None:
    """Print a report's main table, its comparison, its failed check points and where it is."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("dataset", "policy"):
        table.add_column(name)
    for name in ("accuracy", "95% interval", "cost", "of FULL", "\u0394AIQ"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in report.main:
        share, gain = line["cost_of_full"], line.get("delta_aiq")
        table.add_row(
            line["dataset"],
            line["setting"],
            f"{line['accuracy']:.4f}",
            line["interval"],
            f"{line['avg_cost']:.4f}",
            "" if share is None else f"{share:.3f}",
            "" if gain is None else f"{gain:+.4f}",
        )
    console.print(table)
    for line in report.comparison:
        console.print(
            f"{line['dataset']}: {line['first']} less {line['second']}: accuracy {line['difference']:+.4f} "
            f"({_between(line['ci_low'], line['ci_high'])}, p = {line['p_value']:.2g}, {line['test']}), "
            f"cost {line['cost_difference']:+.4f} ({_between(line['cost_ci_low'], line['cost_ci_high'])}); "
            f"differs in {line['differs'] or 'nothing'}",
            soft_wrap=True,
        )
    for folder_name, check, passed, observed in report.found.checks:
        if not passed:
            console.print(f"FAIL  {folder_name}: {check}: {observed}", soft_wrap=True)
    for sentence in report.found.unfinished:
        console.print(f"left out: {sentence}", style="red", soft_wrap=True)
    count = len(report.found.runs)
    console.print(f"{count} run{'s' * (count > 1)}, {len(report.figures)} figures; page: {folder / 'report.html'}",
                  soft_wrap=True)  # fmt: skip
    console.print(f"outputs: {folder}", soft_wrap=True)


def print_checks(checks: Sequence[Check]) -> None:
    """Print check points with what was seen."""
    for check in checks:
        say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.observed}")


def print_store(tables: Sequence[TableSummary]) -> None:
    """Print one line per table of the outcome store."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("table", "data set", "backbone", "dtype", "prompt", "detail"):
        table.add_column(name, no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("MB", justify="right")
    for item in tables:
        damaged = f" damaged={item.damaged}" if item.damaged else ""
        damaged += "" if item.format == FORMAT else " (of another version, never read: prune it)"
        *cells, detail = _of_table(item) or ("?", "?", "?", "?", "table.json is missing or damaged")
        table.add_row(
            "  " * item.id.count("/") + Path(item.id).name,
            *cells,
            detail + damaged,
            str(item.rows),
            f"{item.bytes / 2**20:.1f}",
        )
    console.print(table)


def _of_table(item: TableSummary) -> tuple[str, ...] | None:
    """Data set, backbone, dtype, prompt and what else tells tables apart; None where the description is damaged."""
    facts = item.facts
    try:
        if "scorers" in facts and "of" in facts:
            named = [f"{name} version {version}" for name, version, *_ in facts["scorers"]]
            return "", "", "", "", f"scores by {', '.join(named)}"
        dataset, backbone = facts["dataset"], facts["backbone"]
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


def _print_end(console: PlainConsole, folder: Path, failed: Sequence[Job]) -> None:
    for job in failed:
        console.print(f"failed: {' '.join(job.overrides)}: {job.error}", style="red")
    console.print(f"outputs: {folder}", soft_wrap=True)


def _console() -> PlainConsole:
    """As wide as the terminal; wide enough for a table in a log file."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=200)
