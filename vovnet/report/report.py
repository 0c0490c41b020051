"""Block G1: everything that a set of runs says, as tables, figures and one page."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.checks.check import warn_of_unreadable
from vovnet.errors import VoVNetError
from vovnet.files import write_json, write_text
from vovnet.provenance import SUMMARY, provenance
from vovnet.report import compare, equal_cost, equal_cost_summary, tables
from vovnet.report.analysis import Line, all_lines
from vovnet.report.figures import draw_figures
from vovnet.report.frontier import over_seeds
from vovnet.report.labels import rate_column, with_own_rates
from vovnet.report.latex import caption_of, figures_latex, latex
from vovnet.report.page.build import PAGE, Written, page, write_page_data
from vovnet.report.runs import Found, find_runs
from vovnet.report.study import Study, studies
from vovnet.report.tables import write_table
from vovnet.schema import ReportConfig
from vovnet.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        found: the runs, check points and unfinished folders.
        main: lines of the main table.
        comparison: lines of the comparison of two folders; empty for any other number of them.
        equal_cost: a sentence for each data set and setting of VoVNet.
        figures: the PNG files.
    """

    found: Found
    main: list[Line]
    comparison: list[Line]
    equal_cost: list[str]
    figures: list[Path]


def write_report(
    runs: Sequence[Path], store: str, limits: ReportConfig, folder: Path, session: Session | None = None
) -> Report:
    """Read every run under ``runs`` and write tables, figures, ``report.html`` and summary.json into ``folder``.

    Raises:
        VoVNetError: a folder is missing or holds nothing finished, a file cannot be read, or two folders that are to
            be compared were run under different protocols.
    """
    found = find_runs(runs, besides=folder)
    comparison: list[Line] = []
    if len(runs) == 2:  # refuse what may not be compared before anything is written
        pairs = compare.pair_runs(*(find_runs([one]).runs for one in runs))
        if not pairs:
            log.warning("nothing to compare: %s and %s have no data set and setting in common", *runs)
        comparison = [compare.compare(first, second) for first, second in pairs]
    warn_of_unreadable([run.row for run in found.runs])
    session = session or Session()
    grouped = studies(found.runs, store, session)
    _refuse_unknown(limits.methods, grouped)
    shown_runs = [study.only(limits.methods) for study in grouped]
    written = _tables(grouped, shown_runs, comparison, found.profiles, limits.parts)
    wide = limits.width == "page"
    for name, (columns, lines, view) in written.items():
        tex = latex(lines, view, caption_of(name, grouped, wide and name != "summary"))
        write_table(folder, name, lines, columns, view, tex)
    for name in {"comparison", "profile"} - written.keys():
        for kind in ("csv", "md", "tex"):
            (folder / f"{name}.{kind}").unlink(missing_ok=True)  # an earlier report's, of other runs
    figures = draw_figures(shown_runs, folder / "figures", limits)
    write_text(folder / "figures.tex", figures_latex(figures, folder, grouped, wide))
    facts = provenance(session)
    shown = {"version": facts["versions"]["vovnet"], "commit": (facts["git_commit"] or "unknown")[:12]}
    write_text(folder / PAGE, page(write_page_data(found, grouped, written, shown, limits)))
    checks = [{"folder": f, "name": n, "passed": p, "observed": o} for f, n, p, o in found.checks]
    write_json(
        folder / SUMMARY,
        {
            "runs": [str(run.folder) for run in found.runs],
            "unfinished": list(found.unfinished),
            "studies": {study.name: _study_facts(study) for study in grouped},
            "checks": checks,
            **facts,
        },
    )
    sentences = equal_cost_summary.summary_sentences(written["equal_cost_summary"][1])
    return Report(found, written["main_table"][1], comparison, sentences, figures)


def _refuse_unknown(methods: Sequence[str], grouped: Sequence[Study]) -> None:
    known = sorted({curve.label for study in grouped for curve in over_seeds(study.curves)})
    for name in methods:
        if name not in known:
            raise VoVNetError(f"report.methods: there is no method {name!r} among these runs ({', '.join(known)}).")


def _tables(
    grouped: Sequence[Study],
    shown: Sequence[Study],
    comparison: list[Line],
    profiles: Sequence[Mapping[str, Any]],
    parts: Mapping[str, Callable[[Study], Iterable[Line]]],
) -> dict[str, Written]:
    """Every table by its file name: columns, lines and how people see them.

    Args:
        shown: with the methods that tables of single settings hold; comparisons are corrected for all of them.
        parts: of the user's own; each gives the lines of a study.
    """
    main, pareto = _each(shown, tables.main_lines), _each(shown, tables.pareto_lines)
    ratios = _each(shown, tables.ratio_lines)
    made: dict[str, Written] = {
        "main_table": (
            with_own_rates(tables.MAIN, main, str),
            main,
            tables.with_unreadable(with_own_rates(tables.MAIN_VIEW, main, rate_column(2)), main),
        ),
        "summary": (tables.SUMMARY, tables.summary_lines(main), tables.summary_view(main)),
        "pareto": (tables.PARETO, pareto, tables.with_unreadable(tables.PARETO_VIEW, pareto)),
        "action_ratio": (
            with_own_rates(tables.RATIOS, ratios, str),
            ratios,
            with_own_rates(tables.RATIO_VIEW, ratios, rate_column()),
        ),
    }
    for name, (columns, lines) in all_lines(grouped).items():
        made[name] = (columns, lines, tables.plain_view(columns))
    compared = equal_cost.corrected(_each(grouped, equal_cost.equal_cost_lines))
    summary = equal_cost_summary.summary_lines(grouped, compared)
    made["equal_cost_summary"] = (equal_cost_summary.COLUMNS, summary, equal_cost_summary.summary_view(summary))
    made["equal_cost"] = (equal_cost.COLUMNS, compared, tables.EQUAL_COST_VIEW)
    for name, part in parts.items():
        lines = [dict(line) for line in _each(grouped, part)]
        columns = list(dict.fromkeys(column for line in lines for column in line))
        made[name] = (columns, lines, tables.plain_view(columns))
    if comparison:
        made["comparison"] = (compare.COLUMNS, comparison, tables.plain_view(compare.COLUMNS))
    if profiles:
        columns = list(profiles[0])
        made["profile"] = (columns, [dict(line) for line in profiles], tables.plain_view(columns))
    return made


def _each(grouped: Iterable[Study], make: Any) -> list[Line]:
    return [line for study in grouped for line in make(study)]


def _study_facts(study: Study) -> Mapping[str, Any]:
    """What the runs of a study share, and whether its branches were at hand, or why they were not."""
    protocol = {key: json.loads(value) for key, value in study.runs[0].protocol.items()}
    at_hand = {"branches": study.branches is not None, "without_branches": study.without or None}
    return {"runs": len(study.runs), **at_hand, "protocol": protocol}
