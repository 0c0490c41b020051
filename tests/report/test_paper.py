"""Tables and figures for a paper: what they say, how they fit, that LaTeX takes them."""

import csv
import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from vovnet.actions import FIXED_POLICIES
from vovnet.errors import VoVNetError
from vovnet.report import sweep_figure
from vovnet.report.figures import FIGURES, further
from vovnet.report.frontier import curves, over_seeds
from vovnet.report.labels import rounded
from vovnet.report.latex import Caption, caption_of, latex
from vovnet.report.report import write_report
from vovnet.report.runs import find_runs
from vovnet.report.study import studies
from vovnet.report.style import plain
from vovnet.report.sweep_figure import plot_frontier
from vovnet.report.tables import MAIN, MAIN_VIEW, main_lines
from vovnet.schema import ReportConfig


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx,longtable}
\hfuzz=0.5pt
\begin{document}
BODY
\end{document}
"""


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="needs pdflatex: apt-get install texlive-latex-recommended"
)
@pytest.mark.parametrize("width", ["column", "page"])
def test_every_table_and_figure_fits_a_paper_of_two_columns(runs: Path, tmp_path: Path, width: str) -> None:
    methods = ("VoVNet", "uncertainty_threshold entropy full")
    limits = ReportConfig(samples=0, image_megabytes=0, width=width, format=("pdf",), methods=methods)  # type: ignore[arg-type]
    report = write_report([runs], str(runs / "outcomes"), limits, tmp_path)
    assert {line["method"] for line in table(tmp_path / "summary.csv")} - {*FIXED_POLICIES} == {*methods}
    assert {path.suffix for path in report.figures} == {".pdf"}
    parts = [path.stem for path in sorted(tmp_path.glob("*.tex"))]
    texts = {"setting": "VoVNet, feature_mode=concat_1 & λ = 0.5 % ~^\\{}<>|±", "interval": "0.1–0.2"}
    lines = [dict.fromkeys(MAIN, 0.5) | texts | {"dataset": f"d{i % 2}"} for i in range(60)]
    (tmp_path / "long.tex").write_text(latex(lines, MAIN_VIEW, Caption("60 % of λ", "long", "n = 1_000.")))
    body = "\n".join(rf"\input{{{name}}}\clearpage" for name in (*parts, "long"))
    (tmp_path / "paper.tex").write_text(PAPER.replace("BODY", body), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False).stdout
    assert (tmp_path / "paper.pdf").is_file(), said[-2000:]
    assert "Overfull \\hbox" not in said
    assert "multiply" not in said  # each label is one


def test_an_unknown_method_is_refused(runs: Path, tmp_path: Path) -> None:
    limits = ReportConfig(samples=0, image_megabytes=0, methods=("VovNet",))
    with pytest.raises(VoVNetError, match=r"report.methods: there is no method 'VovNet' .*VoVNet"):
        write_report([runs], str(runs / "outcomes"), limits, tmp_path)


def test_captions_say_how_many_how_sure_and_by_what_choice(runs: Path) -> None:
    (study, _) = studies(find_runs([runs]).runs, str(runs / "outcomes"))
    said = caption_of("main_table", [study], wide=True)
    assert "cheapest setting that keeps always FULL's accuracy less one point" in said.text
    assert "95 %, Wilson's, clustered by image" in said.text
    assert "n = 72" in said.notes


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.9999, 3, ">0.999"), (1.0, 3, "1.000"), (0.0004, 3, "<0.001"), (0.0, 3, "0.000"), (-0.0001, 3, "0.000"),
     (0.99949, 3, "0.999"), (0.5, 2, "0.50"), (64.0, 1, "64.0"), (0.2, 0, "0")],
)  # fmt: skip
def test_a_number_is_not_rounded_to_certainty(value: float, digits: int, text: str) -> None:
    assert rounded(value, digits) == text


def test_seeds_are_a_mean_and_a_deviation(runs: Path) -> None:
    (study, _) = studies(find_runs([runs]).runs, str(runs / "outcomes"))
    own = next(run for run in study.runs if run.row.lambda_cost == 0.1)
    rows = [replace(own.row, seed=seed, accuracy=0.8 + 0.1 * seed, checkpoint=str(seed)) for seed in range(3)]
    (curve,) = over_seeds(curves(rows))
    assert (curve.label, curve.seeds) == ("VoVNet", 3)
    assert (curve.mean("accuracy")[0], curve.deviation("accuracy")[0]) == pytest.approx((0.9, 0.1))
    others = [run for run in study.runs if run.row.baseline_name]
    seeded = replace(study, runs=(*others, *(replace(own, row=row) for row in rows)))
    line = next(line for line in main_lines(seeded) if line["method"] == "VoVNet")
    assert (line["accuracy"], line["interval"], line["seeds"]) == (pytest.approx(0.9), "±0.100 over 3 seeds", 3)
    assert len(over_seeds(curves([*rows, replace(rows[0], checkpoint="again")]))) == 4  # two of one seed


def test_a_figures_legend_has_six_names_and_an_appendix_the_rest(runs: Path, tmp_path: Path) -> None:
    (study, _) = studies(find_runs([runs]).runs, str(runs / "outcomes"))
    for name in ("frontier", "kept_accuracy", "utility_regret", "compute"):
        figure = FIGURES[name](study)
        assert figure is not None
        assert 1 < len(figure.legends[0].get_texts()) <= 6
    figures = [FIGURES["frontier"](study), *further(study)]
    drawn = {text.get_text() for figure in figures if figure for text in figure.legends[0].get_texts()}
    assert {plain(curve.label) for curve in study.curves} <= drawn
    plt.close("all")


def test_lambdas_are_written_apart(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (study, _) = studies(find_runs([runs]).runs, str(runs / "outcomes"))
    own = next(run.row for run in study.runs if run.row.lambda_cost == 0.1)
    near = [
        replace(
            own,
            procedure=kind,
            lambda_cost=price,
            accuracy=0.9,
            accuracy_ci_low=0.85,
            accuracy_ci_high=0.95,
            avg_cost=cost,
        )
        for kind, shift in (("one_step", 0.0), ("sequential", 0.012))
        for price, cost in ((0.1, 0.22 + shift), (0.05, 0.245 + shift), (0.02, 0.27 + shift), (0.0, 0.8))
    ]
    boxes = list[Any]()
    monkeypatch.setattr(sweep_figure.plt, "close", lambda figure: boxes.extend(_labels(figure)))
    plot_frontier(near, tmp_path / "frontier.png")
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def _labels(figure: Any) -> list[Any]:
    figure.canvas.draw()  # at the resolution of the axes again
    return [text.get_window_extent() for text in figure.axes[0].texts]
