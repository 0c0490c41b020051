"""A small table on the terminal at the end of a run."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vovnet.outcomes.inspect import TableSummary
from vovnet.results.checks import Check
from vovnet.results.row import ResultRow
from vovnet.results.sweep import Job


def setting(row: ResultRow) -> str:
    """What tells a row apart, for people."""
    if row.baseline_name:
        return row.baseline_name
    parts = [f"VoVNet \u03bb={row.lambda_cost:g}"]
    if row.objective != "value":
        parts.append(str(row.objective))
    if row.action_space != "ternary":
        parts.append(str(row.action_space))
    return " ".join(parts)


def print_rows(rows: Sequence[ResultRow], folder: Path, failed: Sequence[Job] = ()) -> None:
    """Print results, failures and where the files are."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("dataset", "policy"):
        table.add_column(name, no_wrap=True)
    for name in ("accuracy", "95% interval", "cost", "vision tokens", "NO", "COARSE", "FULL"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.dataset}/{row.split}",
            setting(row),
            f"{row.accuracy:.4f}",
            f"{row.accuracy_ci_low:.4f}-{row.accuracy_ci_high:.4f}",
            f"{row.avg_cost:.4f}",
            f"{row.avg_vision_tokens:.1f}",
            *(f"{rate:.3f}" for rate in (row.action_rate_no, row.action_rate_coarse, row.action_rate_full)),
        )
    console.print(table)
    for job in failed:
        console.print(f"failed: {' '.join(job.overrides)}: {job.error}", style="red", highlight=False, markup=False)
    console.print(f"outputs: {folder}", highlight=False, markup=False, soft_wrap=True)


def print_checks(checks: Sequence[Check]) -> None:
    """Print check points with what was seen."""
    for check in checks:
        print(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.observed}")


def print_store(tables: Sequence[TableSummary]) -> None:
    """Print one line per table of the outcome store."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("table", "data set", "backbone", "dtype", "prompt", "detail"):
        table.add_column(name, no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("MB", justify="right")
    for item in tables:
        dataset, backbone = item.facts["dataset"], item.facts["backbone"]
        detail = {key: item.facts[key] for key in ("order", "resolution", "cache_reuse") if key in item.facts}
        table.add_row(
            item.id,
            f"{dataset['name']}/{dataset['split']}",
            backbone["fingerprint"][:12],
            backbone["dtype"],
            repr(item.facts["prompts"][0][0])[:40],
            " ".join(f"{k}={list(v.values()) if isinstance(v, dict) else v}" for k, v in detail.items())
            + (f" damaged={item.damaged}" if item.damaged else ""),
            str(item.rows),
            f"{item.bytes / 2**20:.1f}",
        )
    console.print(table)


def _console() -> Console:
    """As wide as the terminal; wide enough for a table in a log file."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
