"""The worked examples, run as an outsider's package would be: found by ``_target_``, by an entry point, by name."""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vovnet
from tests.commands import ROOT, command
from tests.policy.test_route import policy_file
from vovnet import registry
from vovnet.actions import USUAL
from vovnet.compose import compose_typed, config_hash, searched
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.keys import scores_key, table_keys
from vovnet.outcomes.looks import looks_of
from vovnet.report.runs import find_runs
from vovnet.schema import RunConfig
from vovnet.schema.code import Code
from vovnet.training.trainable import training_split
from vovnet.vlm.files import ORIGIN_FILE, find_checkpoint, write_origin

EXAMPLES = sorted(path for path in (ROOT / "experiments/examples").glob("*.py") if path.stem != "__init__")


@pytest.fixture(scope="module")
def small(package: Path, charts: Path, qwen3: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of every run here: the outsider's data set, a small model, one store."""
    runs = tmp_path_factory.mktemp("runs")
    return [
        "dataset=charts", f"dataset.path={charts}", f"backbone.path={qwen3}", f"paths.runs={runs}",
        "eval.max_new_tokens=3",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def compose(small: list[str], package: Path) -> Callable[..., RunConfig]:
    """A configuration of an evaluation with the outsider's option files."""
    return lambda *given: compose_typed("eval", [*small, *given, *searched(package / "mine/conf")])


@pytest.fixture(scope="module")
def evaluated(small: list[str], package: Path) -> Callable[..., vovnet.Finished]:
    """Evaluations from Python, each done once."""

    @cache
    def run(*given: str) -> vovnet.Finished:
        return vovnet.run("eval", [*small, *given], config_dir=package / "mine/conf")

    return run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_at_most_forty_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40


def test_a_router_over_words_a_data_set_and_a_scorer_without_touching_vovnet(
    evaluated: Callable[..., vovnet.Finished],
) -> None:
    (row,) = evaluated("policy/baseline=words", "policy.baseline.gain=-1").results
    assert (row.dataset, row.metric, row.num_samples, row.baseline_name) == ("charts", "relaxed_accuracy", 24, "words")
    assert (row.action_rate_full, dict(row.extra)["gain"]) == (1, -1)  # no text promises less than that
    assert row.policy.startswith("words gain=-1")


def test_a_policy_that_climbs_pays_for_every_look(evaluated: Callable[..., vovnet.Finished]) -> None:
    (both,) = evaluated("policy/baseline=climb", "policy.baseline.entropy=0", "policy.baseline.confidence=1").results
    (coarse,) = evaluated("policy/baseline=always_coarse").results
    (full,) = evaluated("policy/baseline=always_full").results
    assert both.avg_cost == pytest.approx(coarse.avg_cost + full.avg_cost)
    assert both.accuracy == full.accuracy
    (blind,) = evaluated("policy/baseline=climb", "policy.baseline.entropy=1e9").results
    assert (blind.action_rate_no, blind.avg_cost) == (1, 0)


def test_the_command_line_finds_option_files_with_config_dir(
    small: list[str], package: Path, tmp_path: Path, evaluated: Callable[..., vovnet.Finished]
) -> None:
    expected = evaluated("policy/baseline=climb").results[0]
    arguments = ["--config-dir", str(package / "mine/conf"), *small, "policy/baseline=climb", "name=typed"]
    done = command("eval", *arguments, cwd=tmp_path, environment={"PYTHONPATH": f"{package}:{ROOT}"})
    assert done.returncode == 0, done.stderr
    (place,) = re.findall(r"^outputs: (.*)$", done.stdout, flags=re.MULTILINE)
    found = vovnet.read_results(tmp_path / place).iloc[0]
    assert (found.accuracy, found.avg_cost, found.config_hash) == (
        expected.accuracy, expected.avg_cost, expected.config_hash,
    )  # fmt: skip


def test_parts_are_found_by_the_names_of_entry_points(small: list[str], package: Path, tmp_path: Path) -> None:
    assert {kind: registry.names(kind) for kind in ("policy", "metric")} == {
        "policy": ("my_words",), "metric": ("my_misses",),
    }  # fmt: skip
    given = [
        *small, "dataset=jsonl", "dataset.name=charts", "+dataset.reader=my_charts",
        "+dataset.scorer={_target_: my_relaxed, tolerance: 0.1}", "+eval.metrics={missed: my_misses}",
        "~policy/baseline", "+policy.baseline={name: my_words, gain: 0.5, questions: 24}",
    ]  # fmt: skip
    finished = vovnet.run("eval", given)
    (row,) = finished.results
    assert (row.baseline_name, dict(row.extra)["gain"], row.num_samples) == ("my_words", 0.5, 24)
    assert [name for name, _ in row.metrics] == ["missed"]
    report = vovnet.run(
        "report", [f"runs=[{finished.folder}]", f"paths.runs={tmp_path}", "+report.parts={mine: my_part}"]
    )
    assert (report.folder / "mine.csv").read_text().splitlines()[0] == "policy,accuracy"


def test_an_objective_of_ones_own_teaches_the_head(small: list[str], package: Path, tmp_path: Path) -> None:
    name, target = "policy.objective.name=squares", "+policy.objective.code={_target_: mine.more.squares, power: 1.5}"
    sizes = ["training.epochs=2", f"hydra.run.dir={tmp_path / 'train'}"]
    found = vovnet.run("train", [*small, name, target, *sizes], config_dir=package / "mine/conf")
    assert (found.folder / "policy.safetensors").is_file()


def test_the_notebook_runs_from_top_to_bottom(
    easy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "experiments/examples/notebook.py").read_text()
    text = text.replace("max_samples=600", "max_samples=24").replace(
        '"easy_vqa"', f'"easy_vqa", path={str(easy_data)!r}'
    )
    (tmp_path / "notebook.py").write_text(text.replace("train_policy(out.train)", "train_policy(out.train, epochs=3)"))
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path("notebook.py")
    assert (tmp_path / "frontier.png").stat().st_size > 1000
    assert names["reply"].look in ("no", "coarse", "full")
    routed = vovnet.evaluate(names["policy"], names["out"].test).routed
    assert names["reply"].answer == routed.chosen.prediction[0]


def changed(path: Path) -> None:
    path.write_text(path.read_text() + "# another version\n")


def test_a_changed_source_has_results_of_its_own(compose: Callable[..., RunConfig], package: Path) -> None:
    def keys() -> dict[str, Any]:
        config = compose("policy/baseline=words")
        checkpoint = find_checkpoint(config.backbone)
        dataset = load_dataset(config.dataset, "test")
        tables = table_keys(config, checkpoint, dataset, looks_of(config, USUAL))
        return {
            "run": config_hash(config),
            "answers": tables["full"].id,
            "scores": scores_key(tables["full"], dataset).id,
        }

    before = keys()
    changed(package / "mine/words.py")
    policy = keys()
    assert policy["run"] != before["run"]
    assert (policy["answers"], policy["scores"]) == (before["answers"], before["scores"])
    changed(package / "mine/charts.py")
    data = keys()
    assert all(data[name] != policy[name] for name in data)


def test_another_scorer_judges_the_stored_answers(compose: Callable[..., RunConfig]) -> None:
    def keys(tolerance: str) -> tuple[str, str]:
        config = compose(f"dataset.scorer.tolerance={tolerance}")
        dataset = load_dataset(config.dataset, "test")
        tables = table_keys(config, find_checkpoint(config.backbone), dataset, looks_of(config, USUAL))
        return tables["full"].id, scores_key(tables["full"], dataset).id

    (answers, scores), (same, others) = keys("0.05"), keys("0.5")
    assert answers == same
    assert scores != others


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["policy/baseline=words", "+policy.baseline.wrong=1"], "wrong"),
        (["policy/baseline=words", "policy.baseline._target_=mine.more.NoPolicy", "~policy.baseline.gain",
          "~policy.baseline.questions"], "no policy"),
        (["policy/baseline=words", "policy.baseline._target_=mine.more.Clairvoyant", "~policy.baseline.gain",
          "~policy.baseline.questions"], "needs 'tomorrow'"),
        (["policy/baseline=words", "policy.baseline._target_=mine.gone.Words"], "cannot be imported"),
        (["policy/baseline=words", "policy.baseline.name=oracle"], "a policy of VoVNet"),
        (["policy/baseline=words", "eval.split=train"], "learns from the split train"),
        (["policy/baseline=no_vision", "dataset.scorer._target_=mine.more.two", "~dataset.scorer.tolerance"],
         "a number between 0 and 1"),
        (["policy/baseline=no_vision", "dataset.scorer._target_=mine.more.two"], "does not take its options"),
        (["policy/baseline=no_vision", "dataset.reader={_target_: mine.more.dicts}"], "a dict, no vovnet.Sample"),
        (["policy/baseline=no_vision", "+eval.metrics={bad: mine.more.nan}"], "must give a finite number"),
        (["policy/baseline=no_vision", "+eval.metrics={bad: nothing}"], "there is no metric nothing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(
    given: list[str], sentence: str, small: list[str], package: Path, tmp_path: Path
) -> None:
    rest = [f"hydra.run.dir={tmp_path}"]
    with pytest.raises(VoVNetError, match=re.escape(sentence)) as caught:
        vovnet.run("eval", [*small, *given, *rest], config_dir=package / "mine/conf")
    assert "\n" not in str(caught.value)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module ``trap`` on the path whose import leaves a file; the test fails if that file appears."""
    folder, sign = tmp_path / "trap_folder", tmp_path / "imported"
    folder.mkdir()
    (folder / "trap.py").write_text(
        f"from pathlib import Path\nPath({str(sign)!r}).touch()\ndef read(*given): return []\nclass Words: pass\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("trap", None)
    assert not sign.exists(), "a file has made VoVNet import code"


def test_code_that_a_summary_names_is_never_imported(
    trap: Path, evaluated: Callable[..., vovnet.Finished], small: list[str], tmp_path: Path
) -> None:
    run = shutil.copytree(evaluated("policy/baseline=words", "policy.baseline.gain=-1").folder, tmp_path / "sent")
    text = (run / "summary.json").read_text()
    assert "mine.words.Words" in text
    assert "mine.charts.read" in text
    (run / "summary.json").write_text(re.sub(r"mine\.(words|charts)\.", "trap.", text))
    (runs,) = [text.partition("=")[2] for text in small if text.startswith("paths.runs")]
    vovnet.run("report", [f"runs=[{run}]", f"paths.runs={tmp_path / 'report'}", f"paths.store={runs}/outcomes"])
    config = find_runs([run]).runs[0].config
    assert config.dataset.reader is not None
    assert not config.dataset.reader.trusted


def test_code_that_a_policys_card_names_is_never_imported(
    trap: Path, compose: Callable[..., RunConfig], small: list[str], tmp_path: Path
) -> None:
    reader = Code("dataset", "trap.read", {}, trusted=False)
    config = compose()
    sent = replace(config, dataset=replace(config.dataset, reader=reader))
    file = policy_file(sent, tmp_path / "policy.safetensors", data_fingerprint="0" * 64)
    usual = [text for text in small if not text.startswith("dataset")]
    found = vovnet.run("eval", [*usual, f"eval.checkpoint={file}", "eval.max_samples=4"])
    assert "trap." in json.dumps(json.loads((found.folder / "summary.json").read_text())["leak_guard"])


def test_code_that_a_backbones_origin_names_is_never_imported(
    trap: Path, compose: Callable[..., RunConfig], small: list[str], qwen3: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(qwen3, tmp_path / "backbone"))
    write_origin(folder, find_checkpoint(compose().backbone), [training_split(compose())])
    origin = folder / ORIGIN_FILE
    assert "mine.charts.read" in origin.read_text()
    origin.write_text(origin.read_text().replace("mine.charts.", "trap.charts."))
    usual = [text for text in small if not text.startswith(("dataset", "backbone"))]
    given = [f"backbone.path={folder}", "policy/baseline=no_vision", "eval.max_samples=4"]
    found = vovnet.run("eval", [*usual, *given])
    assert "trap.charts.read" in json.dumps(json.loads((found.folder / "summary.json").read_text())["leak_guard"])
