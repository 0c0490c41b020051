"""VoVNet from Python: what the commands do, with the results in hand."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vovnet
from experiments.examples.words import Words
from vovnet.errors import VoVNetError

N = 24


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the outcome store and every run."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def vlm() -> vovnet.VLM:
    """The packaged model, whose answers are often right."""
    return vovnet.load_vlm("tiny")


@pytest.fixture(scope="module")
def data(easy_data: Path) -> vovnet.Dataset:
    """A few images of easy-VQA."""
    return vovnet.load_dataset("easy_vqa", path=str(easy_data))


@pytest.fixture(scope="module")
def out(vlm: vovnet.VLM, data: vovnet.Dataset, runs: Path) -> vovnet.Collection:
    """What every look yields on both splits."""
    return vovnet.collect(vlm, data, max_samples=N, runs=runs, max_new_tokens=4)


@pytest.fixture(scope="module")
def policy(out: vovnet.Collection, runs: Path) -> "vovnet.Policy":
    """Trained for two epochs."""
    return vovnet.train_policy(out.train, folder=runs / "trained", epochs=2)


@pytest.fixture
def overrides(easy_data: Path, runs: Path) -> list[str]:
    """What makes a command do the same."""
    sizes = [f"eval.max_samples={N}", "eval.max_new_tokens=4"]
    return [f"dataset.path={easy_data}", f"paths.runs={runs}", *sizes]


def test_outcomes_say_what_every_look_yields(out: vovnet.Collection) -> None:
    assert len(out.test) == len(out.test.samples) == N
    assert out.test.scores.shape == out.test.costs.shape == (N, 3)
    assert set(out.test.predictions) == {"no", "coarse", "full"}
    assert (np.diff(out.test.costs, axis=1) > 0).all()
    assert out.test.scores[:, vovnet.Action.FULL].mean() > out.test.scores[:, vovnet.Action.NO].mean()
    with pytest.raises(VoVNetError, match="no split val"):
        replace(out, splits={})._split("val")


@pytest.mark.parametrize(("name", "options"), [("cascade", {"threshold": 0.5}), ("always_full", {}), ("oracle", {})])
def test_a_baseline_has_the_row_that_the_command_writes(
    name: str, options: dict[str, float], out: vovnet.Collection, overrides: list[str]
) -> None:
    given = [f"policy.baseline.{key}={value}" for key, value in options.items()]
    (row,) = vovnet.run("eval", [*overrides, f"policy/baseline={name}", *given]).results
    assert vovnet.evaluate(name, out.test, **options).row == row


def test_a_trained_policy_has_the_row_and_the_files_of_the_command(
    policy: vovnet.Policy, out: vovnet.Collection, overrides: list[str], runs: Path, tmp_path: Path
) -> None:
    finished = vovnet.run("eval", [*overrides, f"eval.checkpoint={runs / 'trained'}", "policy.lambda_cost=0.05"])
    found = vovnet.evaluate(policy, out.test, folder=tmp_path)
    assert (found.row,) == finished.results
    assert vovnet.read_results(tmp_path).equals(finished.to_pandas())
    assert vovnet.read_predictions(tmp_path)["score"].mean() == finished.to_pandas()["accuracy"].item()
    assert (tmp_path / "predictions.jsonl").read_text() == (finished.folder / "predictions.jsonl").read_text()
    again = vovnet.load_policy(runs / "trained", vovnet.load_vlm("tiny"))
    assert vovnet.evaluate(again, out.test).row == found.row


def test_a_higher_lambda_never_costs_more(policy: vovnet.Policy, out: vovnet.Collection, tmp_path: Path) -> None:
    lambdas = [0, 0.01, 0.05, 0.2, 1, 5]
    curve = vovnet.frontier(policy, out.test, lambdas=lambdas)  # type: ignore[arg-type]
    costs = [row.avg_cost for row in curve.rows[: len(lambdas)]]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]
    assert [row.baseline_name for row in curve.rows[len(lambdas) :]] == ["always_full", "always_coarse", "no_vision"]
    assert curve.to_pandas().avg_cost.tolist() == [row.avg_cost for row in curve.rows]
    assert curve.plot(tmp_path / "frontier.png").stat().st_size > 1000


def test_a_mixture_learns_from_nll_that_is_measured_when_it_is_asked_for(
    out: vovnet.Collection, tmp_path: Path
) -> None:
    trained = vovnet.train_policy(out.train, objective="mixture", lambda_cost=0.05, epochs=1, folder=tmp_path)
    assert vovnet.evaluate(trained, out.test).row.num_samples == N
    store = Path(out.train.config.paths.store)
    assert len(list(store.glob("*/nll-*"))) == 3  # of the training split's looks alone


def test_a_policy_of_ones_own_learns_from_outcomes(
    out: vovnet.Collection, vlm: vovnet.VLM, data: vovnet.Dataset
) -> None:
    words = Words(gain=0.3).fit(out.train)
    found = vovnet.evaluate(words, out.test)
    assert dict(found.row.extra) == {"gain": 0.3, "questions": 600}
    gains = out.train.scores[:, 2] - out.train.scores[:, 0]
    learned = Words(gain=0.3).fit(out.train).features(out.train.samples) @ words.weights
    assert np.square(gains - learned).mean() <= np.square(gains - gains.mean()).mean()  # no worse than a constant
    router = vovnet.Router(vlm, words, data, max_new_tokens=4)
    replies = router.answer([(one.question, one.images[0].path, one.options) for one in out.test.samples])
    assert [reply.look for reply in replies] == [vovnet.Action(one).label for one in found.routed.actions]


def test_the_router_answers_as_the_live_command_does(
    policy: vovnet.Policy,
    vlm: vovnet.VLM,
    data: vovnet.Dataset,
    out: vovnet.Collection,
    overrides: list[str],
    runs: Path,
) -> None:
    given = [f"eval.checkpoint={runs / 'trained'}", "policy.lambda_cost=0.05", "eval.mode=live", "eval.max_samples=8"]
    live = vovnet.run("eval", [*overrides, *given])
    lines = [json.loads(line) for line in (live.folder / "predictions.jsonl").read_text().splitlines()]
    router = vovnet.Router(vlm, policy, data, max_new_tokens=4)
    opened = [[image.load() for image in one.images] for one in out.test.samples[:8]]
    replies = router.answer([(one.question, i, ()) for one, i in zip(out.test.samples, opened, strict=False)])
    assert [(one.answer, one.look) for one in replies] == [
        (line["prediction"], line["action"].lower()) for line in lines
    ]
    one = out.test.samples[0]
    alone = router(one.question, one.images[0].path)
    assert (alone.answer, alone.look, alone.vision_tokens) == (
        replies[0].answer,
        replies[0].look,
        replies[0].vision_tokens,
    )


def test_a_command_runs_without_its_command_line(
    out: vovnet.Collection, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rubbish = ["rubbish", "--rubbish", "rubbish=["]
    monkeypatch.setattr(sys, "argv", list(rubbish))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    swept = vovnet.run("eval", ["-m", *overrides, "policy/baseline=no_vision,always_coarse"])
    assert [row.baseline_name for row in swept.results] == ["no_vision", "always_coarse"]
    assert sorted(swept.to_pandas().baseline_name) == ["always_coarse", "no_vision"]
    assert (swept.folder / "frontier.png").is_file()
    several = vovnet.run("eval", ["+experiment=b1_fixed", *overrides])
    assert {row.baseline_name for row in several.results} == {"no_vision", "always_coarse", "always_full"}
    assert sys.argv == rubbish
    assert {number: signal.getsignal(number) for number in before} == before


def test_commands_in_one_session_make_nothing_twice(out: vovnet.Collection, overrides: list[str]) -> None:
    made: list[str] = []

    class Watched(vovnet.Session):
        def once(self, kind: str, key: Hashable, make: Callable[[], Any], keep: int = 1) -> Any:
            return super().once(kind, key, lambda: (made.append(kind), make())[1], keep)

    session, given = Watched(), [*overrides, "policy/baseline=no_vision"]
    first = vovnet.run("eval", given, session=session)
    assert made
    made.clear()
    assert vovnet.run("eval", given, session=session).results == first.results
    assert made == []


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda out: vovnet.load_dataset("nothing"), "nothing"),
        (lambda out: vovnet.load_dataset("easy_vqa", wrong=1), "wrong"),
        (lambda out: vovnet.load_vlm("nothing"), "there is no model nothing; choose one of"),
        (lambda out: vovnet.load_vlm("./nothing/here"), "there is no model"),
        (lambda out: vovnet.load_vlm("tiny", dtype="float3"), "dtype"),
        (lambda out: vovnet.evaluate("nothing", out.test), "nothing"),
        (lambda out: vovnet.evaluate("cascade", out.test, threshold=2), "threshold"),
        (lambda out: vovnet.evaluate(3, out.test), "builtins.int is no policy"),
        (lambda out: vovnet.evaluate(named("oracle"), out.test), "'oracle' is a policy of VoVNet"),
        (lambda out: vovnet.frontier("cascade", out.test), "frontier takes a trained policy"),
        (lambda out: vovnet.train_policy(out.train, wrong=1), "wrong"),
        (lambda out: vovnet.train_policy(out.train, objective="wrong"), "wrong"),
        (lambda out: vovnet.Router(vovnet.load_vlm("tiny"), "x"), "builtins.str is no policy"),
        (lambda out: vovnet.run("nothing"), "there is no command nothing"),
        (lambda out: vovnet.run("eval", ["wrong=1"]), "wrong"),
        (lambda out: vovnet.run("eval", ["--config-dir=x"]), "config_dir=FOLDER"),
        (lambda out: vovnet.read_results("nowhere"), "nowhere"),
        (lambda out: vovnet.load_policy("nowhere", vovnet.load_vlm("tiny")), "nowhere"),
        (lambda out: vovnet.register("thing", "mine"), "no parts of the kind 'thing'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    call: Callable[[vovnet.Collection], object], sentence: str, out: vovnet.Collection
) -> None:
    with pytest.raises(VoVNetError, match=re.escape(sentence)) as caught:
        call(out)
    assert "\n" not in str(caught.value)


def named(name: str) -> vovnet.Policy:
    policy = Words()
    policy.name = name
    return policy


def test_importing_it_imports_nothing_heavy_and_every_name_is_there() -> None:
    code = (
        "import signal, sys; before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)\n"
        "import vovnet\n"
        "heavy = {'torch', 'transformers', 'lightning', 'hydra', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))\n"
        "assert set(vovnet.__all__) <= set(dir(vovnet)) and all(getattr(vovnet, name) for name in vovnet.__all__)\n"
        "assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vovnet.nothing  # noqa: B018


def test_a_menu_of_ones_own_is_collected_trained_evaluated_and_routed(
    vlm: vovnet.VLM, data: vovnet.Dataset, out: vovnet.Collection, runs: Path
) -> None:
    looks = ["no", {"long_side": 24}, {"long_side": 64, "merge": 0.5}, "full"]
    policy = vovnet.train_policy(out.train, looks=looks, folder=runs / "own", epochs=2)
    assert [look.label for look in policy.looks] == ["no", "side24", "side64_merge50", "full"]
    assert vovnet.load_policy(runs / "own", vlm).looks == policy.looks
    own = vovnet.collect(vlm, data, splits=["test"], max_samples=N, runs=runs, looks=looks, max_new_tokens=4).test
    assert own.scores.shape == own.costs.shape == (N, 4)
    assert own.looks == policy.looks
    lines = vovnet.frontier(policy, out.test, lambdas=(0.0, 0.3, 9.0)).rows
    costs = [row.avg_cost for row in lines[:3]]
    assert costs == sorted(costs, reverse=True)
    assert {row.action_space for row in lines[:3]} == {"no-side24-side64_merge50-full"}
    found = vovnet.evaluate(policy, out.test)
    assert found.row.accuracy == own.scores[np.arange(N), [own.looks.index(a) for a in found.routed.actions]].mean()
    sample = data.split("test")[0]
    reply = vovnet.Router(vlm, policy, data, max_new_tokens=4)(sample.question, sample.images[0].load())
    assert reply.look in {look.label for look in policy.looks}


def test_a_ladder_is_trained_by_name(out: vovnet.Collection, runs: Path) -> None:
    policy = vovnet.train_policy(out.train, action_space="ladder", procedure="sequential", folder=runs / "up", epochs=1)
    assert [look.label for look in policy.looks] == ["no", "coarse", "side25", "side40", "full"]
    assert vovnet.evaluate(policy, out.test).row.action_space == "ladder"


def test_an_explanation_holds_what_every_look_answers(
    vlm: vovnet.VLM, data: vovnet.Dataset, out: vovnet.Collection, policy: "vovnet.Policy"
) -> None:
    router = vovnet.Router(vlm, policy, data, max_new_tokens=4)
    for place in range(4):
        sample = out.test.samples[place]
        found, reply = (
            router.ask(sample.question, sample.images[0].path),
            router(sample.question, sample.images[0].path),
        )
        assert [look.answer for look in found.looks] == [out.test.predictions[look.look][place] for look in found.looks]
        assert [look.cost for look in found.looks] == out.test.costs[place].tolist()
        best = max(found.looks, key=lambda look: look.utility)
        assert [look.look for look in found.looks if look.chosen] == [best.look] == [reply.look]
        assert (found.answer, found.cost, found.vision_tokens) == (reply.answer, reply.cost, reply.vision_tokens)
        assert found.saved == 1 - reply.vision_tokens / found.looks[-1].vision_tokens


def test_an_explanation_in_a_notebook_shows_the_image_and_escapes_texts(
    vlm: vovnet.VLM, data: vovnet.Dataset, out: vovnet.Collection, policy: "vovnet.Policy"
) -> None:
    router = vovnet.Router(vlm, policy, data, max_new_tokens=4)
    shown = router.ask("what <b>color</b> is it?", out.test.samples[0].images[0].path)._repr_html_()
    assert "what &lt;b&gt;color&lt;/b&gt; is it?" in shown
    assert 'src="data:image/png;base64,' in shown
    assert shown.count("<tr") == 4
