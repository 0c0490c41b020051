"""The frontier of a sweep as one picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase

from vovnet.files import atomic_write
from vovnet.report.frontier import Curve, curves, fixed_rows, interval_arms, prominent
from vovnet.report.labels import display
from vovnet.report.style import SETTINGS, draw_mixing, looks, name_fixed, plain
from vovnet.results.columns import ResultRow

MOST = 5  # curves; random mixing is the sixth name in the legend
SCALE = 1.25  # of letters, against those of a figure in a paper's column
NEAR = 0.02  # cost; neighbours over lambda that are no farther apart share a label
HALF = 4  # points around a curve's points that labels keep away from


def plot_frontier(rows: Sequence[ResultRow], path: Path) -> None:
    """One panel per data set: VoVNet over lambda, the fixed policies, and random mixing between them."""
    names = sorted({row.shown_dataset for row in rows})
    larger = {name: size * SCALE for name, size in SETTINGS.items() if name.endswith("size")}
    with plt.rc_context({**SETTINGS, **larger}):
        figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 4.0), squeeze=False)
        drawn = [
            _panel(axis, [r for r in rows if r.shown_dataset == name])
            for axis, name in zip(axes[0], names, strict=True)
        ]
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(plain(name))
        figure.tight_layout()
        figure.canvas.draw()  # settles where everything is
        for axis, found in zip(axes[0], drawn, strict=True):
            _set_apart(axis, found)
        kind = path.suffix.removeprefix(".") or "png"
        atomic_write(path, lambda temporary: figure.savefig(temporary, dpi=160, format=kind))
    plt.close(figure)


def _panel(axis: Axes, rows: Sequence[ResultRow]) -> list[Curve]:
    """Draw a panel; returns the curves that lambdas are written at."""
    drawn, fixed = prominent(curves(rows), MOST), fixed_rows(rows)
    own = [curve for curve in drawn if curve.is_vovnet]
    for curve, (color, marker) in zip(drawn, looks(), strict=False):
        style = "-" if curve.is_vovnet else ":"
        costs, scores = [r.avg_cost for r in curve.rows], [r.accuracy for r in curve.rows]
        arms = interval_arms(curve.rows) if curve.is_vovnet else None
        axis.errorbar(
            costs, scores, yerr=arms, color=color, marker=marker, ms=4, elinewidth=0.8, ls=style,
            label=display(curve.label) + " (numbers: λ)" * curve.is_vovnet,
        )  # fmt: skip
    name_fixed(axis, fixed)
    draw_mixing(axis, fixed)
    axis.set(xlabel="average cost (share of a maximal FULL image's tokens)", ylabel="accuracy")
    axis.legend(loc="lower right")
    return own


def _set_apart(axis: Axes, found: Sequence[Curve]) -> None:
    """Write each point's lambda above its interval, or below it, where it covers no point, interval or other label."""
    taken: list[BboxBase] = [box for curve in found for box in _points(axis, curve.rows)]
    panel = axis.get_window_extent()
    for place, (curve, (color, _)) in enumerate(zip(found, looks(), strict=False)):
        for cluster in _clusters(curve.rows):
            first, last = cluster[0], cluster[-1]
            text = f"{first.lambda_cost:g}" if len(cluster) == 1 else f"{first.lambda_cost:g}–{last.lambda_cost:g}"
            label = axis.annotate(
                text, (0, 0), (0, 0), textcoords="offset points", ha="center", color=color,
                fontsize=SETTINGS["legend.fontsize"] * SCALE,
            )  # fmt: skip
            boxes = [_put(label, cluster, *offset) for offset in _offsets(above=place % 2 == 0)]
            free = [_inside(panel, box) and not any(map(box.overlaps, taken)) for box in boxes]
            at = free.index(True) if True in free else 0
            taken.append(_put(label, cluster, *list(_offsets(above=place % 2 == 0))[at]))


def _inside(panel: BboxBase, box: BboxBase) -> bool:
    return panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1


def _offsets(above: bool) -> Iterator[tuple[float, float]]:
    """Where a label may be, the nearest first: to the right, and upwards from an interval's upper end (negative:
    downwards from its lower end), in points."""
    for distance in (3, 12, 21, 30):
        for side in (1, -1) if above else (-1, 1):
            yield from ((x, side * distance) for x in (0, -9, 9))


def _put(label: Annotation, cluster: Sequence[ResultRow], x: float, y: float) -> BboxBase:
    """Move a label; returns the box that it fills."""
    middle = sum(row.avg_cost for row in cluster) / len(cluster)
    high, low = max(row.accuracy_ci_high for row in cluster), min(row.accuracy_ci_low for row in cluster)
    label.xy = (middle, high if y > 0 else low)
    label.set_position((x, y))
    label.set_verticalalignment("bottom" if y > 0 else "top")
    return label.get_window_extent()


def _points(axis: Axes, rows: Sequence[ResultRow]) -> list[Bbox]:
    """What points and their intervals fill, in pixels."""
    found = []
    for row in rows:
        (x, low), (_, high) = axis.transData.transform(
            [(row.avg_cost, row.accuracy_ci_low), (row.avg_cost, row.accuracy_ci_high)]
        )
        found.append(Bbox([[x - HALF, low], [x + HALF, high]]))
    return found


def _clusters(rows: Sequence[ResultRow]) -> list[list[ResultRow]]:
    """Neighbours over lambda that the eye cannot tell apart; they share one label."""
    clusters: list[list[ResultRow]] = []
    for row in rows:
        if clusters and abs(clusters[-1][0].avg_cost - row.avg_cost) < NEAR:
            clusters[-1].append(row)
        else:
            clusters.append([row])
    return clusters
