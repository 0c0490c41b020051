"""The report of a set of runs: what is found, compared, tabulated and drawn, and what is refused."""

import csv
import itertools
import json
import os
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import huggingface_hub
import matplotlib.pyplot as plt
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

from tests.conftest import Configure, compose_config
from vovnet.data import ImageRef
from vovnet.errors import VoVNetError
from vovnet.report import study as study_module
from vovnet.report.compare import compare, pair_runs
from vovnet.report.figures import FIGURES, frontier, slugs
from vovnet.report.frontier import curves, mixing_line, prominent
from vovnet.report.labels import Column, setting
from vovnet.report.latex import escape, latex
from vovnet.report.page.build import Images
from vovnet.report.report import write_report
from vovnet.report.runs import Run, find_runs
from vovnet.report.study import Study, studies
from vovnet.report.style import legend_below, panel, plain, save
from vovnet.report.table import print_report
from vovnet.report.tables import markdown
from vovnet.results.columns import COLUMNS, ESSENTIAL
from vovnet.results.evaluate import evaluate
from vovnet.results.write import write_rows
from vovnet.schema import ReportConfig, Resolution
from vovnet.vlm.qwen.budget import VisionBudget

LIMITS = ReportConfig(samples=1000, image_megabytes=5.0)
VIEW = (Column("dataset", "data set"), Column("setting", "policy"), Column("accuracy", "accuracy", 3, "high"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def only(folder: Path) -> Run:
    (run,) = find_runs([folder]).runs
    return run


def test_the_report_writes_every_table_and_figure(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = write_report([runs], str(runs / "outcomes"), LIMITS, tmp_path)
    assert len(report.found.runs) == 10
    for name in (
        "main_table",
        "summary",
        "pareto",
        "action_ratio",
        "methods",
        "decisions",
        "estimates",
        "calibration",
        "equal_cost",
        "equal_cost_summary",
    ):
        assert table(tmp_path / f"{name}.csv")
        assert (tmp_path / f"{name}.md").read_text().startswith("| ")
        assert "\\bottomrule" in (tmp_path / f"{name}.tex").read_text()
    page = (tmp_path / "report.html").read_text()
    assert '"equal_cost_summary"' in page
    print_report(report, tmp_path)
    assert ": VoVNet at the cost of 5 baselines: " in capsys.readouterr().out
    main = {line["method"]: line for line in table(tmp_path / "main_table.csv")}
    assert {"always_full", "always_coarse", "no_vision", "VoVNet"} <= set(main)
    assert float(main["always_full"]["cost_of_full"]) == 1
    pareto = table(tmp_path / "pareto.csv")
    assert len(pareto) == 10
    front = [(float(line["avg_cost"]), float(line["accuracy"])) for line in pareto if line["on_front"]]
    assert front == sorted(front)
    ratios = [[float(line[f"action_rate_{a}"]) for a in ("no", "coarse", "full")] for line in pareto_of(tmp_path)]
    assert np.allclose(np.sum(ratios, axis=1), 1)
    drawn = {path.name.split("_easy_vqa")[0] for path in report.figures}
    assert drawn == set(FIGURES)
    for path in report.figures:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["studies"]) == 2  # eight live questions are another protocol
    assert {check["name"] for check in summary["checks"]} >= {"no_vision: avg_cost is 0"}


def pareto_of(folder: Path) -> list[dict[str, str]]:
    return table(folder / "action_ratio.csv")


def test_the_numbers_are_those_of_the_runs(runs: Path, tmp_path: Path) -> None:
    write_report([runs], str(runs / "outcomes"), LIMITS, tmp_path)
    decisions = {line["policy"]: line for line in table(tmp_path / "decisions.csv")}
    for line in decisions.values():
        kinds = [float(line[k]) for k in ("right_choice", "wasted_vision", "missed_need", "vision_hurts")]
        assert sum(kinds) == pytest.approx(1)
        assert float(line["utility_regret"]) >= 0
    assert float(decisions["oracle cheapest_correct"]["right_choice"]) == 1
    methods = {line["method"]: line for line in table(tmp_path / "methods.csv")}
    assert float(methods["random mixing"]["delta_aiq"]) == 0
    assert methods["VoVNet"]["oracle_gap_closed"]
    assert not methods["vision_token_pruning_proxy stride"]["oracle_gap_closed"]  # it sees what the oracle does not
    estimates = table(tmp_path / "estimates.csv")
    assert {line["estimator"] for line in estimates} == {"value", "entropy", "margin"}
    assert all(0 <= float(line["prevalence"]) <= 1 for line in estimates)


def test_a_report_without_the_store_still_has_what_the_runs_say(runs: Path, tmp_path: Path) -> None:
    report = write_report([runs], str(tmp_path / "empty"), LIMITS, tmp_path / "out")
    assert report.main
    assert not table(tmp_path / "out/decisions.csv")
    assert (tmp_path / "out/report.html").exists()


def test_a_report_of_a_folder_with_a_report_counts_nothing_twice(runs: Path, tmp_path: Path) -> None:
    place = tmp_path / "runs"
    shutil.copytree(runs, place)
    first = write_report([place], str(runs / "outcomes"), LIMITS, place / "report")
    second = write_report([place], str(runs / "outcomes"), LIMITS, place / "report")
    assert first.main == second.main
    assert first.found.checks == second.found.checks


def test_random_mixing_is_drawn_up_to_the_most_expensive_fixed_policy(runs: Path) -> None:
    """Who may spend more need not: where FULL is worse than COARSE, the line stays level."""
    study = studies(find_runs([runs]).runs, str(runs / "outcomes"))[0]
    points = {"no_vision": (0.0, 0.5), "always_coarse": (0.0625, 0.9), "always_full": (1.0, 0.8)}
    fixed = {n: replace(study.fixed[n], avg_cost=cost, accuracy=height) for n, (cost, height) in points.items()}
    expected = [(0.0, 0.5), (0.0625, 0.9), (1.0, 0.9)]
    assert mixing_line(fixed) == expected
    varied = tuple(replace(run, row=fixed.get(run.row.baseline_name, run.row)) for run in study.runs)
    figure = frontier(replace(study, runs=varied))
    assert figure is not None
    (line,) = (one for one in figure.axes[0].lines if one.get_label() == "random mixing")
    assert np.asarray(line.get_xydata()).tolist() == [[*place] for place in expected]
    plt.close(figure)
    assert mixing_line({"always_full": fixed["always_full"]}) == []


def test_two_runs_are_compared_sample_by_sample(runs: Path) -> None:
    first, second = only(runs / "full"), only(runs / "none")
    line = compare(first, second)
    gap = first.predictions.score - second.predictions.score
    assert line["difference"] == pytest.approx(first.row.accuracy - second.row.accuracy)
    assert line["ci_low"] <= line["difference"] <= line["ci_high"]
    assert (line["better_on"], line["worse_on"]) == (int((gap > 0).sum()), int((gap < 0).sum()))
    assert line["cost_difference"] == pytest.approx(first.row.avg_cost)
    assert "policy.baseline.name: always_full | no_vision" in line["differs"]
    assert line["test"] == "sign flips over images"  # several questions share an image
    mirrored = compare(second, first)
    assert mirrored["difference"] == -line["difference"]
    assert compare(first, first)["p_value"] == 1


def test_runs_of_different_protocols_are_not_compared(
    runs: Path, packaged: Configure, tmp_path: Path
) -> None:  # fmt: skip
    for name, override in (
        ("eval.max_samples", "eval.max_samples=20"),
        ("vision_budget", "vision_budget.full.long_side=48"),
        ("prompt", "dataset.prompt_template='Q: {question} A:'"),
        ("eval.max_new_tokens", "eval.max_new_tokens=2"),
        ("chat_template", "backbone.chat_template=none"),
    ):
        given = ["eval.max_samples=72", "policy/baseline=no_vision", override]
        evaluate(packaged(f"paths.runs={tmp_path}", *given), tmp_path / name)
        with pytest.raises(VoVNetError, match=re.escape(name)):
            compare(only(tmp_path / name), only(runs / "none"))


def test_sweeps_are_paired_by_setting(runs: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        for part in ("full", "none"):
            shutil.copytree(runs / part, tmp_path / name / part)
    shutil.copytree(runs / "coarse", tmp_path / "third/coarse")
    shutil.copytree(runs / "oracle", tmp_path / "third/oracle")
    one, other, third = (find_runs([tmp_path / name]).runs for name in ("one", "other", "third"))
    assert [a.row.baseline_name for a, _ in pair_runs(one, other)] == ["always_full", "no_vision"]
    assert pair_runs(one, third) == []


def sweep(run: Run, **columns: list[object]) -> list[Run]:
    """Runs with every combination of the columns' values."""
    combined = [dict(zip(columns, values, strict=True)) for values in itertools.product(*columns.values())]
    return [replace(run, row=replace(run.row, **one)) for one in combined]


def test_seeds_are_paired_with_their_like(runs: Path) -> None:
    run = only(runs / "vovnet_0.1")
    one = sweep(run, seed=[0, 1, 2], lambda_cost=[0.0, 0.1], checkpoint=["a"])
    other = sweep(run, seed=[2, 1, 0], lambda_cost=[0.1, 0.0], checkpoint=["b"], objective=["mixture"])
    pairs = pair_runs(one, other)
    assert len(pairs) == 6
    assert all((a.row.seed, a.row.lambda_cost) == (b.row.seed, b.row.lambda_cost) for a, b in pairs)
    assert len({compare(run, run)["first"] for run in one}) == 6  # a table's lines can be told apart


@pytest.mark.parametrize(
    ("column", "values"), [("feature_mode", ["hidden", "hidden_entropy"]), ("cache_reuse", [True, False])]
)
def test_what_sweeps_differ_in_is_compared_and_what_varies_in_them_is_paired(
    runs: Path, column: str, values: list[object]
) -> None:
    run, prices = only(runs / "vovnet_0.1"), [0.0, 0.1]
    whole, *parts = (sweep(run, lambda_cost=prices, **{column: some}) for some in (values, values[:1], values[1:]))
    assert len(pair_runs(*parts)) == 2  # each has one value: it is what the two are compared in
    pairs = pair_runs(whole, whole)
    assert len(pairs) == 4
    assert all(getattr(a.row, column) == getattr(b.row, column) for a, b in pairs)
    assert [getattr(a.row, column) for a, _ in pair_runs(whole, parts[1])] == values[1:] * 2


def test_runs_that_no_column_tells_apart_are_not_compared(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = only(runs / "vovnet_0.1")
    twice = sweep(run, lambda_cost=[0.0, 0.1]) + sweep(run, lambda_cost=[0.1], checkpoint=["another"])
    (pair,) = pair_runs(twice, sweep(run, lambda_cost=[0.0, 0.1]))
    assert pair[0].row.lambda_cost == 0
    assert "not compared: 1, since no column of results.csv tells such runs as" in caplog.text


def test_two_sweeps_of_unlike_settings_are_reported_and_not_compared(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, parts in (("fixed", ("full", "none")), ("vovnet", ("vovnet_0.0", "vovnet_0.1"))):
        for part in parts:
            shutil.copytree(runs / part, tmp_path / name / part)
    report = write_report(
        [tmp_path / "fixed", tmp_path / "vovnet"], str(runs / "outcomes"), LIMITS, tmp_path / "report"
    )
    assert len(report.main) == 3
    assert report.comparison == []
    assert "nothing to compare" in caplog.text


def test_a_profile_has_a_table_of_its_own(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "full", tmp_path / "runs/full")
    shutil.copytree(runs / "full", tmp_path / "runs/timed")
    (tmp_path / "runs/timed/results.csv").write_text("rows of few questions, which no frontier is drawn of")
    summary = json.loads((runs / "full/summary.json").read_text())
    lines = [{"stage": "end_to_end", "action": action, "latency_p50_ms": 2.5} for action in ("no", "full")]
    timed = {"config": summary["config"], "device": "cpu", "profile": lines}
    (tmp_path / "runs/timed/summary.json").write_text(json.dumps(timed))
    report = write_report([tmp_path / "runs"], str(runs / "outcomes"), LIMITS, tmp_path / "report")
    assert len(report.found.runs) == 1
    found = table(tmp_path / "report/profile.csv")
    assert [(line["dataset"], line["action"], line["latency_p50_ms"]) for line in found] == [
        ("easy_vqa/test", "no", "2.5"), ("easy_vqa/test", "full", "2.5"),
    ]  # fmt: skip
    assert "profile" in (tmp_path / "report/report.html").read_text()

    (tmp_path / "runs/timed/summary.json").write_text(json.dumps(timed | {"profile": [3]}))
    with pytest.raises(VoVNetError, match=r"timed/summary.json holds a damaged profile"):
        find_runs([tmp_path / "runs"])
    shutil.rmtree(tmp_path / "runs/timed")
    write_report([tmp_path / "runs"], str(runs / "outcomes"), LIMITS, tmp_path / "report")
    assert not (tmp_path / "report/profile.csv").exists()


def test_a_report_among_its_runs_is_not_called_half_written(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "full", tmp_path / "runs/full")
    place = tmp_path / "runs/report"
    place.mkdir()
    (place / "job.json").write_text(json.dumps({"status": "running"}))
    assert write_report([tmp_path / "runs"], str(runs / "outcomes"), LIMITS, place).found.unfinished == ()


def test_a_report_that_is_a_stage_does_not_call_its_pipelines_half_written(runs: Path, tmp_path: Path) -> None:
    outer, inner = tmp_path / "paper", tmp_path / "paper/tables"
    shutil.copytree(runs / "full", outer / "b1")
    shutil.copytree(runs / "none", inner / "b2")
    for place in (outer, inner, outer / "broken"):
        place.mkdir(exist_ok=True)
        (place / "job.json").write_text(json.dumps({"status": "running"}))
    found = find_runs([outer], besides=inner / "report")
    assert len(found.runs) == 2
    assert found.unfinished == ("paper/broken: half-written, the job was running",)
    (outer / "job.json").write_text(json.dumps({"status": "failed", "error": "no disk"}))
    assert "paper: no disk" in find_runs([outer], besides=inner / "report").unfinished


def of_a_colleague(runs: Path, place: Path, **parts: dict[str, object]) -> Path:
    """A run with other entries in its summary's configuration, as it was made on another machine."""
    shutil.copytree(runs / "full", place)
    summary = json.loads((place / "summary.json").read_text())
    for name, changes in parts.items():
        summary["config"][name] |= changes
    (place / "summary.json").write_text(json.dumps(summary))
    return place


HUB_BACKBONE = {"name": "Qwen/Qwen3-VL-8B-Instruct", "path": None, "packaged": False}


def without(folder: Path, store: Path) -> str:
    """Why a study of a folder's runs has no branches."""
    (study,) = studies(find_runs([folder]).runs, str(store))
    assert study.branches is None
    assert study.rows
    return study.without


def test_a_summary_whose_rows_the_store_lacks_opens_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("find_checkpoint", "load_dataset"):
        monkeypatch.setattr(study_module, name, lambda *_, **__: pytest.fail("it is opened"))
    of_a_colleague(runs, tmp_path / "runs/a", backbone=HUB_BACKBONE)
    (tmp_path / "store/full-0123456789abcdef").mkdir(parents=True)
    facts = {"backbone": {"fingerprint": "other"}, "dataset": {"fingerprint": "other"}}
    (tmp_path / "store/full-0123456789abcdef/table.json").write_text(json.dumps({"branch": "full", "facts": facts}))
    for store in (tmp_path / "store", tmp_path / "nowhere"):
        assert "lacks some branches; run `python -m experiments.eval" in without(tmp_path / "runs", store)
    write_report([tmp_path / "runs"], str(tmp_path / "store"), LIMITS, tmp_path / "out")
    (facts,) = json.loads((tmp_path / "out/summary.json").read_text())["studies"].values()
    assert facts["branches"] is False
    assert "lacks some branches" in facts["without_branches"]


def test_what_a_summary_names_is_neither_downloaded_nor_drawn(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def only_looks(*_: object, local_files_only: bool = False, **__: object) -> str:
        assert local_files_only
        raise LocalEntryNotFoundError("nothing is cached")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", only_looks)
    mini = asdict(compose_config("dataset=mini_mmmu").dataset) | {"path": str(tmp_path / "new/set")}
    mini["generate"] |= {"train_images": 10**12, "test_images": 10**12}
    cases: dict[str, tuple[dict[str, dict[str, object]], str]] = {
        "hub": ({"backbone": HUB_BACKBONE}, "is neither in the local hub cache nor to be downloaded"),
        "no hub": ({"backbone": HUB_BACKBONE | {"name": "../../x"}}, "is neither in the local hub cache"),
        "draw": ({"dataset": mini}, "holds no mini_mmmu; draw it by a command of your own"),
        "pipe": ({"dataset": {"path": str(tmp_path / "pipe")}}, "is not a folder"),
        "older": ({"eval": {"unknown": 1}}, "another version"),
    }
    os.mkfifo(tmp_path / "pipe")
    for name, (parts, why) in cases.items():
        assert why in without(of_a_colleague(runs, tmp_path / "theirs" / name, **parts), runs / "outcomes")
    assert caplog.text.count("no oracle and no sample browser") == len(cases)
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_reported_is_said_in_a_sentence(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match="is not a folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(VoVNetError, match="holds no finished evaluation"):
        find_runs([tmp_path])
    half = tmp_path / "half"
    half.mkdir()
    (half / "job.json").write_text(json.dumps({"status": "running"}))
    with pytest.raises(VoVNetError, match="half-written, the job was running"):
        find_runs([tmp_path])
    shutil.copytree(runs / "full", tmp_path / "full")
    assert find_runs([tmp_path]).unfinished == (f"{tmp_path.name}/half: half-written, the job was running",)
    results = tmp_path / "full/results.csv"
    results.write_text(results.read_text().replace("avg_cost,", "cost,", 1))
    with pytest.raises(VoVNetError, match="lacks the column avg_cost"):
        find_runs([tmp_path])
    shutil.copy(runs / "full/results.csv", results)
    (tmp_path / "full/summary.json").write_text("{")
    with pytest.raises(VoVNetError, match=r"summary\.json cannot be read"):
        find_runs([tmp_path])


def test_runs_are_in_the_order_of_their_settings_whatever_their_folders_are_called(runs: Path, tmp_path: Path) -> None:
    names = ["vovnet_0.0", "vovnet_0.1", "vovnet_0.5", "coarse", "full", "none"]
    for place, name in zip("fedcba", names, strict=True):
        shutil.copytree(runs / name, tmp_path / place)
    assert [run.folder.name for run in find_runs([tmp_path]).runs] == list("fedcba")


def test_a_run_of_another_version_is_reported(runs: Path, tmp_path: Path) -> None:
    """Its table and its summary lack the same columns, and hold one that is not known here."""
    shutil.copytree(runs / "full", tmp_path / "full")
    later = [name for name in COLUMNS if name not in ESSENTIAL and name not in ("metric", "scoring_rule")]

    def older(line: dict) -> None:
        for name in later:
            line.pop(name)
        line["energy"] = "5"

    path = tmp_path / "full/results.csv"
    (line,) = table(path)
    older(line)
    write_rows(path, [line], list(line))
    path = tmp_path / "full/summary.json"
    summary = json.loads(path.read_text())
    older(summary["result"])
    path.write_text(json.dumps(summary))
    (run,) = find_runs([tmp_path]).runs
    (now,) = find_runs([runs / "full"]).runs
    assert (run.row.accuracy, run.protocol) == (now.row.accuracy, now.protocol)
    assert setting(run.row) == "always_full"


def test_a_cut_predictions_file_is_named(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "full", tmp_path / "full")
    path = tmp_path / "full/predictions.jsonl"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(VoVNetError, match=r"predictions\.jsonl is damaged in line \d+"):
        _ = only(tmp_path / "full").predictions


def test_studies_hold_one_protocol_and_curves_one_method(runs: Path) -> None:
    found = studies(find_runs([runs]).runs, str(runs / "outcomes"))
    assert [len(study.runs) for study in found] == [9, 1]
    assert found[0].branches is not None
    assert found[1].branches is None  # live runs leave no rows in the store
    assert found[0].name != found[1].name
    assert next(curve.label for curve in curves(found[0].rows)) == "VoVNet"
    assert [row.lambda_cost for row in found[0].curves[0].rows] == [0.0, 0.1, 0.5]
    assert "".join(slugs([study.name for study in found])).isascii()
    alike = slugs(["a/b", "a b", "c" * 400, "d"])
    assert len(set(alike)) == 4
    assert max(map(len, alike)) < 100
    assert alike[3] == "d"


def test_tables_mark_the_best_but_not_the_oracle() -> None:
    lines = [
        {"dataset": "a", "setting": "x_1 & 50 %", "accuracy": 0.5},
        {"dataset": "a", "setting": "y", "accuracy": 0.75},
        {"dataset": "a", "setting": "oracle cheapest_correct", "accuracy": 1.0},
        {"dataset": "b", "setting": "y|z", "accuracy": None},
    ]
    text = markdown(lines, VIEW)
    assert "| a | y | **0.750** |" in text
    assert "**1.000**" not in text
    assert "y\\|z |  |" in text
    tex = latex(lines, VIEW)
    assert tex.count("\\midrule") == 2  # below the heading and between the data sets
    assert "x\\_1 \\& 50 \\% & 0.500" in tex
    assert "\\textbf{0.750}" in tex


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a_b", r"a\_b"), ("λ = 0.1", r"$\lambda$ = 0.1"), ("\\x{}", r"\textbackslash{}x\{\}"), ("1–2", "1--2")],
)
def test_latex_is_escaped(text: str, wanted: str) -> None:
    assert escape(text) == wanted


def test_names_of_any_kind_stay_in_their_cell_and_are_no_formula(tmp_path: Path) -> None:
    name = "a\n\n| $x_{ <b>\\frac$ " + "long " * 60
    text = markdown([{"dataset": name, "setting": name, "accuracy": 0.5}], VIEW)
    assert len(text.splitlines()) == 3
    assert "<b>" not in text
    assert "\n\n" not in latex([{"dataset": name, "setting": name, "accuracy": 0.5}], VIEW)
    figure, axis = panel(name, "$", "")
    axis.plot([0, 1], [0, 1], label=name)
    axis.set_yticks([0, 1], [plain(name), plain("5 $ or $6_")])
    legend_below(axis)
    assert all(path.stat().st_size > 1000 for path in save(figure, tmp_path / "names"))
    assert plain("x" * 60) == "x" * 39 + "…"  # a name without spaces is cut, not left out
    assert "5 $" in plain("5 $ or $6_").replace("\\$", "$")


def test_policies_of_equally_named_folders_are_told_apart(runs: Path) -> None:
    row = next(r for r in studies(find_runs([runs]).runs, str(runs))[0].rows if not r.baseline_name)
    rows = [replace(row, checkpoint=f"/runs/{sweep}/2631/policy.safetensors") for sweep in ("d1/train", "d4/train")]
    assert [c.label for c in curves(rows)] == ["VoVNet, d1/train/2631", "VoVNet, d4/train/2631"]
    mixed = [replace(row, checkpoint=place) for place in (f"{Path.cwd()}/a/2631/p", "b/2631/p")]
    assert [c.label for c in curves(mixed)] == ["VoVNet, a/2631", "VoVNet, b/2631"]


def test_a_crowded_figure_keeps_the_baselines_and_the_usual_vovnet(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies(find_runs([runs]).runs, str(runs / "outcomes"))[0]
    own = next(c for c in study.curves if c.is_vovnet)
    ablations = [replace(own, label=f"VoVNet, feature_mode=x{i}, seed={i}") for i in range(20)]
    baselines = [c for c in study.curves if not c.is_vovnet]
    kept = prominent([*ablations, replace(own, label="VoVNet"), *baselines], len(baselines) + 3)
    assert [c.label for c in kept[:3]] == [ablations[0].label, ablations[1].label, "VoVNet"]
    assert kept[3:] == baselines
    assert prominent(study.curves, 99) == list(study.curves)
    monkeypatch.setattr(Study, "curves", [*ablations, *baselines])
    for name in ("frontier", "kept_accuracy", "utility_regret"):
        figure = FIGURES[name](study)
        assert figure is not None
        assert "more curves" in figure.axes[0].get_title()


def test_images_of_one_name_in_two_folders_are_two_images(tmp_path: Path) -> None:
    shown = Images(1.0)
    budget = VisionBudget(Resolution(16, 256), Resolution(64, 4096), 8)
    for number, colour in enumerate(("red", "blue")):
        (tmp_path / colour).mkdir()
        Image.new("RGB", (64, 64), colour).save(tmp_path / colour / "a.png")
        assert shown.place(ImageRef("a.png", tmp_path / colour / "a.png"), budget) == number
    assert shown.place(ImageRef("a.png", tmp_path / "red/a.png"), budget) == 0
    assert shown.pages[0] != shown.pages[1]


def test_predictions_in_another_order_are_refused(runs: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(runs / "full", tmp_path / "full"))
    lines = (place / "predictions.jsonl").read_text().splitlines()
    (place / "predictions.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(VoVNetError, match=r"predictions.jsonl holds other questions than easy_vqa, or"):
        studies(find_runs([place]).runs, str(runs / "outcomes"))
