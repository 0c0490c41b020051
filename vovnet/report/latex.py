"""Tables and figures as LaTeX that compiles in one column or two (booktabs, graphicx, longtable)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vovnet.report.analysis import Line
from vovnet.report.labels import Column, display
from vovnet.report.study import Study
from vovnet.report.tables import marked_cells

LONG = 40  # rows; a longer table goes over pages
NUMBER = 0.07  # of a line that a column of numbers takes
MANY = 8  # columns; texts of a longer table with more are broken into lines
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "λ": r"$\lambda$",
           "Δ": r"$\Delta$", "–": "--", "±": r"$\pm$", "<": "$<$", ">": "$>$", "|": "$|$"} | {
               c: f"\\{c}" for c in "&%$#_{}"}  # fmt: skip
# A table wider than its place is made smaller; one that is not keeps its letters.
FIT = r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi"
ONE_COLUMN = r"\makeatletter\if@twocolumn\onecolumn\let\vovnetback\twocolumn\else\let\vovnetback\relax\fi\makeatother"
CHOICE = (
    "Each method at its cheapest setting that keeps always FULL's accuracy less one point, at its most accurate one "
    "where none does."
)
INTERVAL = "Intervals: 95 %, Wilson's, clustered by image."
COST = "Cost: vision tokens; 1 is a maximal FULL image."
PAIRED = "Intervals: 95 %, bootstrap over images, and over seeds where there are several; p after Holm's correction."
CAPTIONS = {
    "main_table": f"Accuracy and cost. {CHOICE} {INTERVAL} {COST}",
    "summary": f"Accuracy, cost as a share of always FULL's, and looks. {CHOICE} ±: one standard deviation over seeds.",
    "pareto": f"Every setting by cost. {INTERVAL} {COST}",
    "action_ratio": f"How often each look is chosen. {COST}",
    "equal_cost_summary": f"Wins, ties and losses at equal cost over all λ. {PAIRED}",
    "equal_cost": f"Differences in accuracy at equal cost. {PAIRED}",
    "comparison": "The same settings of two sets of runs. Intervals: 95 %, bootstrap over images.",
    "frontier": f"Accuracy against cost. Bars: 95 %, Wilson's, clustered by image; band: one standard deviation over "
    f"seeds. {COST}",
}


@dataclass(frozen=True)
class Caption:
    """What is said of a table.

    Attributes:
        notes: below it.
        wide: over both columns of a page.
    """

    text: str = ""
    label: str = ""
    notes: str = ""
    wide: bool = True


def caption_of(name: str, grouped: Sequence[Study], wide: bool) -> Caption:
    """Of a table or figure by its file's name, with how many questions each data set has."""
    counts = "; ".join(f"{display(study.name)}: n = {study.rows[0].num_samples:,}" for study in grouped)
    return Caption(CAPTIONS.get(name, name.replace("_", " ").capitalize() + "."), name, f"{counts}.", wide)


def latex(lines: Sequence[Line], view: Sequence[Column], caption: Caption = Caption()) -> str:
    """A table with caption, label and notes, a rule between data sets; above forty rows a ``longtable``.

    A table of one column of the page names the data set above its lines instead of in each.
    """
    by_set = not caption.wide and view[0].name == "dataset"
    shown = view[1:] if by_set else view
    broken, texts = len(lines) > LONG and len(view) > MANY, sum(column.digits is None for column in shown)
    text = f"p{{{(1 - NUMBER * (len(shown) - texts)) / texts:.2f}\\linewidth}}" if broken and texts else "l"
    shape = "".join(text if column.digits is None else "r" for column in shown)
    head = " & ".join(escape(column.heading) for column in shown) + r" \\"
    body, before = list[str](), object()
    for line, row in zip(lines, marked_cells(lines, view), strict=True):
        if (dataset := line.get("dataset")) != before:
            body += [r"\midrule"] * bool(body)
            title = escape(display(" ".join(str(dataset).split())))
            body += [rf"\multicolumn{{{len(shown)}}}{{l}}{{\emph{{{title}}}}} \\"] * by_set
        before = dataset
        named = [(escape(display(text)), bold) for text, bold in row]
        cells = [rf"\textbf{{{text}}}" if bold else text for text, bold in named]
        joined = " & ".join(cells[1:] if by_set else cells) + r" \\"
        body.append(re.sub(r"\\_|=", r"\g<0>\\allowbreak{}", joined) if broken else joined)
    said = rf"\caption{{{escape(caption.text)}}}\label{{tab:{caption.label}}}"
    notes = rf"\par\smallskip{{\footnotesize {escape(caption.notes)}\par}}" if caption.notes else r"\par"
    out = (
        _long(shape, head, body, said, notes) if len(lines) > LONG else _short(shape, head, body, said, notes, caption)
    )
    return "\n".join(out) + "\n"


def _short(shape: str, head: str, body: Sequence[str], said: str, notes: str, caption: Caption) -> list[str]:
    kind = "table*" if caption.wide else "table"
    tabular = [
        rf"\begin{{tabular}}{{{shape}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}%",
    ]
    return [
        rf"\begin{{{kind}}}[tb]", r"\centering", said, r"\footnotesize", r"\sbox0{%", *tabular, FIT, notes,
        rf"\end{{{kind}}}",
    ]  # fmt: skip


def _long(shape: str, head: str, body: Sequence[str], said: str, notes: str) -> list[str]:
    """Over pages, which LaTeX can do in one column only."""
    again = [r"\toprule", head, r"\midrule"]
    return [
        ONE_COLUMN, r"{\scriptsize\setlength{\tabcolsep}{2pt}\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{{shape}}}", said + r" \\", *again, r"\endfirsthead", *again, r"\endhead",
        r"\bottomrule", r"\endfoot", *body, r"\end{longtable}}", notes, r"\vovnetback",
    ]  # fmt: skip


def figures_latex(paths: Sequence[Path], folder: Path, grouped: Sequence[Study], wide: bool) -> str:
    """An environment for each figure, with its caption.

    Args:
        folder: that paths are said from.
    """
    kind, out = "figure*" if wide else "figure", list[str]()
    for path in paths:
        name = next((name for name in CAPTIONS if path.stem.startswith(name)), path.stem)
        said = caption_of(name, grouped, wide)
        out += [
            rf"\begin{{{kind}}}[tb]", r"\centering",
            rf"\includegraphics[width=\linewidth]{{{path.relative_to(folder).with_suffix('').as_posix()}}}",
            rf"\caption{{{escape(said.text)} {escape(said.notes)}}}\label{{fig:{path.stem}}}", rf"\end{{{kind}}}",
        ]  # fmt: skip
    return "\n".join(out) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX takes as it is."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], text)
