"""How every figure looks: readable at the width of a paper's column, safe for colour-blind readers."""

import itertools
import logging
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vovnet.files import atomic_write
from vovnet.report.frontier import mixing_line
from vovnet.report.labels import display
from vovnet.results.columns import ResultRow

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph it embeds
# Okabe and Ito's colour-blind safe palette; colour never tells alone, markers and line styles differ too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6d31", "#000000")
MARKERS = ("o", "D", "P", "X", "^", "v", "<", ">", "s", "*")
ACTION_COLORS = {"no": "#999999", "coarse": "#56B4E9", "full": "#0072B2"}
OWN_COLORS = ("#CC79A7", "#E69F00", "#8c6d31", "#882255")  # of looks of a menu's own
FIXED_MARKERS = {"always_full": "s", "always_coarse": "^", "no_vision": "v"}
COLUMN, PAGE = 3.4, 7.0  # inches
TITLE_WIDTH = 48  # characters that fit above a panel
SETTINGS: Any = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 6.5, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "lines.linewidth": 1.2, "axes.grid": True, "grid.alpha": 0.25,
    "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42, "svg.hashsalt": "vovnet",
}  # fmt: skip


def action_color(label: str, among: Sequence[str]) -> str:
    """The colour of a look with this label among a study's."""
    own = [other for other in among if other not in ACTION_COLORS]
    return ACTION_COLORS.get(label) or OWN_COLORS[own.index(label) % len(OWN_COLORS)]


def looks() -> Iterator[tuple[str, str]]:
    """A colour and a marker for each curve; combinations repeat late."""
    return zip(itertools.cycle(COLORS), itertools.cycle(MARKERS), strict=False)


def plain(text: str, width: int = 40) -> str:
    """A name as matplotlib is to show it: on one line, not endless, and dollars are no formula."""
    line = " ".join(display(text).split())
    return (line if len(line) <= width else f"{line[: width - 1]}…").replace("$", r"\$")


def panel(title: str, xlabel: str, ylabel: str, height: float = 2.5) -> tuple[Figure, Axes]:
    """A figure of one panel, a column wide."""
    with plt.rc_context(SETTINGS):
        figure, axis = plt.subplots(figsize=(COLUMN, height), layout="constrained")
        axis.set(title=textwrap.fill(display(title), TITLE_WIDTH).replace("$", r"\$"), xlabel=xlabel, ylabel=ylabel)
    return figure, axis


def legend_below(axis: Axes, columns: int = 2, shown: Mapping[str, Any] | None = None) -> None:
    """A legend under the figure, where it covers neither points nor labels; of ``shown`` (label -> line) or an axis."""
    handles, labels = axis.get_legend_handles_labels() if shown is None else (list(shown.values()), list(shown))
    if handles:
        names = [plain(label, 80) for label in labels]
        legend = axis.figure.legend(
            handles, names, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=columns, frameon=False,
            fontsize=SETTINGS["legend.fontsize"], handlelength=1.6, columnspacing=1.0,
        )  # fmt: skip
        legend.set_in_layout(False)  # else the axes would shrink for it


def name_fixed(axis: Axes, fixed: Mapping[str, ResultRow]) -> None:
    """The fixed policies, each named at its point rather than in a legend."""
    for name, row in sorted(fixed.items()):
        place = (row.avg_cost, row.accuracy)
        axis.plot(*place, FIXED_MARKERS[name], color="black", ms=5, zorder=4)
        edge = name == "always_full"  # its point is at the edge of the panel
        axis.annotate(
            plain(name), place, (0, -6) if edge else (5, -4), textcoords="offset points", va="top",
            ha="center" if edge else "left", fontsize=SETTINGS["legend.fontsize"],
        )  # fmt: skip
    axis.margins(y=0.12)  # room for the names


def draw_mixing(axis: Axes, fixed: Mapping[str, ResultRow]) -> None:
    """What random choices among the fixed policies reach."""
    if line := mixing_line(fixed):
        axis.plot(*zip(*line, strict=True), "--", color="grey", lw=0.9, label="random mixing", zorder=1)


def save(figure: Figure, path: Path, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write ``path`` as each of some kinds of file, closing the figure; returns them."""
    written = []
    with plt.rc_context(SETTINGS):
        figure.canvas.draw()  # settles the layout before the legend counts again
        figure.set_layout_engine("none")
        for legend in figure.legends:
            legend.set_in_layout(True)
        for kind in kinds:
            target = path.with_suffix(f".{kind}")
            metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)  # the same bytes every time
            atomic_write(
                target,
                lambda temporary, kind=kind, metadata=metadata: figure.savefig(  # type: ignore[misc]
                    temporary, dpi=250, format=kind, bbox_inches="tight", metadata=metadata
                ),
            )
            written.append(target)
    plt.close(figure)
    return written
