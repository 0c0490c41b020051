"""Another engine's rows: checked, scored, routed like any others; and out of the store again as they went in."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import experiments.store
import vovnet
from tests.conftest import compose_config
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.foreign import FEATURES
from vovnet.outcomes.foreign_files import read_folder, read_frame
from vovnet.outcomes.imports import _by_look
from vovnet.outcomes.rows import BranchOutcomes
from vovnet.results.collected import collect
from vovnet.results.evaluate import evaluate
from vovnet.session import Session

N = 24
NAMED = ("backbone=imported", "backbone.name=them", f"eval.max_samples={N}")
DRAWN = ("dataset=mini_mmbench", "dataset.generate.train_images=4", "dataset.generate.test_images=12")
Row = dict[str, Any]
Import = Callable[..., None]


@pytest.fixture(scope="module")
def data(easy_data: Path) -> vovnet.Dataset:
    return vovnet.load_dataset("easy_vqa", path=str(easy_data))


@pytest.fixture(scope="module")
def own(data: vovnet.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of this program's own model."""
    runs = tmp_path_factory.mktemp("own")
    for policy in ("policy=sequential", "policy/objective=mixture"):  # states, then the NLL
        collect(compose_config(*where(runs, data), policy, f"eval.max_samples={N}", root="collect"), runs, Session())
    return runs


def where(runs: Path, data: vovnet.Dataset) -> list[str]:
    return [f"paths.runs={runs}", f"dataset.path={data.config.path}"]


def rows_of(data: vovnet.Dataset, split: str = "test") -> list[Row]:
    """A right answer under FULL, wrong ones without an image, whatever the question."""
    samples, found = data.split(split), []
    for place in range(N):
        sample = samples[place]
        for look, tokens in (("no", 0), ("coarse", 9), ("full", 81)):
            said = sample.answers[0] if look == "full" or (look == "coarse" and place % 2) else "?"
            found.append({"id": sample.id, "look": look, "prediction": said, "vision_tokens": tokens})
    return found


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def import_(runs: Path, data: vovnet.Dataset) -> Import:
    """Import rows by the command, as backbone.name=them."""

    def run(rows: list[Row], *overrides: str, split: str = "test", features: Any = None) -> None:
        folder = runs.parent / "rows"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if features is not None:
            np.save(folder / FEATURES, features)
        asked = (f"store.import_from={folder}", "store.engine=vLLM 0.11", f"eval.split={split}")
        config = compose_config(*where(runs, data), *NAMED, *asked, *overrides, root="store")
        experiments.store.run(config, runs)

    return run


@pytest.fixture
def evaluated(runs: Path, data: vovnet.Dataset) -> Callable[..., Any]:
    def run(*overrides: str) -> Any:
        return evaluate(compose_config(*where(runs, data), *NAMED, *overrides), runs / "run").row

    return run


def test_rows_are_routed_by_every_baseline_that_needs_no_more_than_them(
    import_: Import, evaluated: Callable[..., Any], data: vovnet.Dataset
) -> None:
    import_(rows_of(data))
    full, coarse = evaluated("policy/baseline=always_full"), evaluated("policy/baseline=always_coarse")
    assert (full.accuracy, full.avg_cost, coarse.accuracy, coarse.avg_cost) == (1.0, 1.0, 0.5, 9 / 81)
    assert (full.engine, full.backbone, full.dtype, full.metric) == ("vLLM 0.11", "them", "", "exact_match")
    unknown = "avg_text_tokens avg_patches avg_generated_tokens prefill_gflops gflops ece unparsed_cut_rate".split()
    assert [getattr(full, name) for name in unknown] == [None] * len(unknown)
    oracle = evaluated("policy/baseline=oracle")
    assert (oracle.accuracy, oracle.avg_cost) == (1.0, pytest.approx((81 + 9) / 2 / 81))
    drawn = evaluated("policy/baseline=random_policy_matched", "policy.baseline.target_ratios=[0.2,0.3,0.5]")
    assert 0 < drawn.action_rate_full < 1
    summary = json.loads((Path(evaluated.__closure__[1].cell_contents) / "run/summary.json").read_text())
    assert summary["backbone"]["engine"] == "vLLM 0.11"


REFUSED = {
    "policy/baseline=uncertainty_threshold": "outcomes hold no entropy",
    "policy/baseline=uncertainty_threshold policy.baseline.uncertainty=margin": "outcomes hold no margin",
    "policy/baseline=cascade policy.baseline.threshold=0.5": "outcomes hold no answer_probability",
    "policy/baseline=resolution_scaling policy.baseline.long_side=16": "cannot be pruned or scaled",
    "policy/baseline=vision_token_pruning_proxy": "cannot be pruned or scaled",
    "policy/baseline=always_look policy.baseline.look={long_side:32}": "no rows of the look side32",
    "policy/baseline=always_full eval.mode=live": "without a model",
    "policy/baseline=always_full policy.cost_unit=flops": "not known; set policy.cost_unit=tokens",
    "policy/baseline=always_full eval.split=train": "no rows of the look full in easy_vqa/train",
    "policy/baseline=always_full eval.max_samples=30": "24 of the 30 questions",
    "backbone.name=others policy/baseline=always_full": r"were imported as backbone.name=others \(there are them in",
}


def test_what_the_rows_do_not_hold_is_refused_with_what_to_do(
    import_: Import, evaluated: Callable[..., Any], runs: Path, data: vovnet.Dataset
) -> None:
    import_(rows_of(data))
    for overrides, said in REFUSED.items():
        with pytest.raises(VoVNetError, match=said):
            evaluated(*overrides.split())
    import_(rows_of(data, "train"), split="train")
    from vovnet.training.run import train

    for overrides, said in {
        "": "imported without hidden states",
        "policy/objective=mixture": "no nll after NO",
        "policy=sequential": "no hidden states, entropy and margin after COARSE",
    }.items():
        config = compose_config(
            *where(runs, data), *NAMED[:2], f"training.max_samples={N}", *overrides.split(), root="train"
        )
        with pytest.raises(VoVNetError, match=said):
            train(config, runs / f"train {overrides}", Session())


def test_a_policy_learns_from_imported_hidden_states(
    import_: Import, evaluated: Callable[..., Any], runs: Path, data: vovnet.Dataset
) -> None:
    for split in ("train", "test"):
        rows = [
            row | ({"features_row": n // 3} if row["look"] == "no" else {})
            for n, row in enumerate(rows_of(data, split))
        ]
        import_(rows, split=split, features=np.eye(N, 8, dtype=np.float16))
    from vovnet.training.run import train

    sizes = (f"training.max_samples={N}", "training.epochs=1")
    config = compose_config(*where(runs, data), *NAMED[:2], *sizes, root="train")
    with pytest.raises(VoVNetError, match=r"outcomes hold no entropy.* set policy\.feature_mode=hidden"):
        train(config, runs / "train/two", Session())
    config = compose_config(*where(runs, data), *NAMED[:2], *sizes, "policy.feature_mode=hidden", root="train")
    train(config, runs / "train/one", Session())
    row = evaluated("policy.lambda_cost=100", "policy.feature_mode=hidden")
    assert (row.baseline_name, row.action_rate_no, row.engine) == ("", 1.0, "vLLM 0.11")


BAD: dict[str, tuple[Callable[[list[Row]], object], str]] = {
    "unknown id": (lambda rows: rows[4].update(id="nobody"), "line 5: there is no question 'nobody' in easy_vqa/test"),
    "doubled": (lambda rows: rows.append(rows[2]), f"line {3 * N + 1}: full of .* is here for the second time"),
    "missing": (lambda rows: rows.pop(7), "1 of 24 questions have no row of the look coarse, the first of them"),
    "look": (lambda rows: rows[1].update(look="big"), "line 2: the look 'big' is none of no, coarse and full"),
    "tokens of no": (lambda rows: rows[0].update(vision_tokens=3), "line 1: the look no shows no image"),
    "negative": (lambda rows: rows[5].update(vision_tokens=-1), "line 6: vision_tokens=-1 must be between 0"),
    "fraction": (lambda rows: rows[5].update(vision_tokens=1.5), "line 6: vision_tokens='1.5' is not a whole number"),
    "type": (lambda rows: rows[5].update(prediction=[1]), r"line 6: prediction='\[1\]' is not text"),
    "truth": (lambda rows: rows[5].update(score=True), "line 6: score='True' is not a number"),
    "range": (lambda rows: rows[3].update(score=1.5), "line 4: score=1.5 must be between 0 and 1"),
    "nan": (lambda rows: rows[3].update(nll=float("nan")), "line 4: nll=nan must be at least 0"),
    "none": (lambda rows: rows[3].update(prediction=None), "line 4: it has no prediction"),
    "some": (lambda rows: rows[3].update(entropy=0.5), "it has no entropy, which other rows of the look no have"),
    "column": (lambda rows: rows[3].update(entropie=0.5), "has the column 'entropie', none of id, look"),
    "features": (lambda rows: rows[3].update(features_row=0), "features_row, but no features.npy lies beside it"),
    "surrogate": (lambda rows: rows[3].update(prediction="\ud800"), r"line 4: prediction='\\ud800' is not text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_named_and_nothing_is_stored(name: str, import_: Import, runs: Path, data: vovnet.Dataset) -> None:
    change, said = BAD[name]
    rows = rows_of(data)
    change(rows)
    with pytest.raises(VoVNetError, match=said):
        import_(rows)
    assert not list(runs.glob("outcomes/*-*"))
    assert not (runs / "outcomes/imported/them/config.json").exists()


def test_files_that_are_none_are_one_sentence(tmp_path: Path, data: vovnet.Dataset) -> None:
    with pytest.raises(VoVNetError, match="is not a folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(VoVNetError, match=r"holds no .parquet and no .jsonl"):
        read_folder(tmp_path)
    for content, said in {
        b"[1]\n": "line 1: it is no JSON object",
        b'{"id": 1}\n{': "line 2: it is no JSON object",
        b'{"id": ' + b"[" * 100_000 + b"\n": "line 1: it is no JSON object",
        b'{"id": "a"}\n': "lacks the column look|has no look",
        b"": "lacks the column id",
    }.items():
        (tmp_path / "rows.jsonl").write_bytes(content)
        with pytest.raises(VoVNetError, match=said):
            read_folder(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(VoVNetError, match=r"rows.parquet cannot be read \("):
        read_folder(tmp_path)


def test_a_name_holds_what_it_holds(import_: Import, evaluated: Callable[..., Any], data: vovnet.Dataset) -> None:
    rows = rows_of(data)
    import_([row for row in rows if row["look"] != "coarse"])
    before = evaluated("policy/baseline=always_full")
    import_([row for row in rows if row["look"] != "coarse"])  # the same again
    import_(rows)  # a further look
    assert evaluated("policy/baseline=always_coarse").accuracy == 0.5
    assert evaluated("policy/baseline=always_full") == before
    with pytest.raises(VoVNetError, match=r"holds other rows of easy_vqa/test already \(full\)"):
        import_([row | {"vision_tokens": row["vision_tokens"] * 2} for row in rows if row["look"] == "full"])
    with pytest.raises(VoVNetError, match=r"engine=vLLM 0\.11, these have engine=SGLang"):
        import_(rows, "store.engine=SGLang")
    with pytest.raises(VoVNetError, match="max_vision_tokens=81, these have max_vision_tokens=100"):
        import_(rows, "store.max_vision_tokens=100")


def test_scores_are_the_rows_own_where_they_have_some(
    import_: Import, evaluated: Callable[..., Any], runs: Path, data: vovnet.Dataset
) -> None:
    rows = [row | {"score": 0.25} for row in rows_of(data)]
    import_(rows)
    row = evaluated("policy/baseline=always_full")
    assert (row.accuracy, row.metric) == (0.25, "given by vLLM 0.11")
    import_(rows, "store.scores=own", "backbone.name=judged")
    assert evaluated("policy/baseline=always_full", "backbone.name=judged").accuracy == 1.0
    shutil.rmtree(next(runs.glob("outcomes/full-*/scores-*/")))
    shutil.rmtree(next(runs.glob("outcomes/full-*/scores-*/")))
    with pytest.raises(VoVNetError, match="came with imported rows and are gone; import them again"):
        evaluated("policy/baseline=always_full")
    import_(rows)
    assert evaluated("policy/baseline=always_full").accuracy == 0.25


@settings(max_examples=5)
@given(order=st.permutations(range(3 * N)), parquet=st.booleans())
def test_order_and_format_of_the_rows_do_not_matter(order: list[int], parquet: bool, data: vovnet.Dataset) -> None:
    rows, split = rows_of(data), data.split("test")
    shuffled = pd.DataFrame([rows[place] for place in order])
    if parquet:
        shuffled = pq.ParquetFile(_parquet(shuffled)).read().to_pandas()
    contents = [one.content for one in _by_look(read_frame(shuffled), split, N)[0]]
    assert contents == [one.content for one in _by_look(read_frame(pd.DataFrame(rows)), split, N)[0]]


def _parquet(frame: pd.DataFrame) -> Any:
    import io

    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer


def test_exported_rows_are_the_stored_ones_bit_by_bit(
    own: Path, data: vovnet.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exported"
    count = f"eval.max_samples={N}"
    experiments.store.run(compose_config(*where(own, data), count, f"store.export_to={folder}", root="store"), tmp_path)
    assert f"{3 * N} rows of easy_vqa/test: {folder}" in capsys.readouterr().out
    asked = (*where(own, data), *NAMED, f"store.import_from={folder}")
    experiments.store.run(compose_config(*asked, root="store"), tmp_path)
    from vovnet.outcomes.transfer import present

    theirs = present(compose_config(*where(own, data), *NAMED), Session()).outcomes
    ours = present(compose_config(*where(own, data), count), Session()).outcomes
    for look, branch in ours.branches.items():
        for column in (field.name for field in fields(BranchOutcomes) if field.name != "hidden"):
            mine, imported = (getattr(one, column) for one in (branch, theirs.branches[look]))
            assert (mine is None) == (imported is None), column
            if mine is not None:
                assert mine.dtype == imported.dtype, column
                assert (mine == imported).all(), column
        if branch.hidden is not None:
            assert branch.hidden.joined().tobytes() == theirs.branches[look].hidden.joined().tobytes()
    assert ours.text.hidden.joined().tobytes() == theirs.text.hidden.joined().tobytes()
    for column in ("entropy", "margin", "text_tokens"):
        assert (getattr(ours.text, column) == getattr(theirs.text, column)).all()
    read_by_others(folder / "outcomes.parquet", {look.label: one.score.mean() for look, one in ours.branches.items()})


def read_by_others(path: Path, scores: dict[str, float]) -> None:
    """pandas and DuckDB come to the same means."""
    assert pd.read_parquet(path).groupby("look")["score"].mean().to_dict() == pytest.approx(scores)
    found = duckdb.sql(f"SELECT look, avg(score) FROM '{path}' GROUP BY look").fetchall()
    assert dict(found) == pytest.approx(scores)


def test_a_data_frame_is_imported_and_comes_back(data: vovnet.Dataset, tmp_path: Path) -> None:
    frame = pd.DataFrame(rows_of(data))
    out = vovnet.import_outcomes(frame, data, name="frame", engine="mine", max_samples=N, runs=tmp_path)
    assert out.scores.mean(0).tolist() == [0.0, 0.5, 1.0]
    back = out.to_pandas()
    assert (
        back[frame.columns].sort_values(["id", "look"]).values.tolist()
        == frame.sort_values(["id", "look"]).values.tolist()
    )
    assert set(back["engine"]) == {"mine"}
    again = vovnet.import_outcomes(back, data, name="again", max_samples=N, runs=tmp_path)
    assert (again.checkpoint.engine, again.costs.tolist()) == ("mine", out.costs.tolist())


@pytest.fixture
def mmbench(tmp_path: Path) -> Callable[..., str]:
    """Answers to a drawn MMBench that the rules read differently."""

    def run(rule: str, *overrides: str) -> str:
        config = compose_config(
            f"paths.runs={tmp_path}", *DRAWN, *NAMED, *overrides, f"store.rescore={rule}", root="store"
        )
        experiments.store.run(config, tmp_path / "run")
        return (tmp_path / "run/changed.jsonl").read_text()

    split = load_dataset(compose_config(f"paths.runs={tmp_path}", *DRAWN).dataset, "test")
    said = ["**{}**" if place % 4 == 0 else "{}" for place in range(N)]
    rows = [
        {"id": split[n].id, "look": "full", "prediction": said[n].format(split[n].answers[0]), "vision_tokens": 8}
        for n in range(N)
    ]
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = (f"store.import_from={folder}", "store.engine=e", *DRAWN)
    experiments.store.run(compose_config(f"paths.runs={tmp_path}", *NAMED, *asked, root="store"), tmp_path)
    return run


def test_another_rule_judges_stored_answers_and_says_what_moves(
    mmbench: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    changed = [json.loads(line) for line in mmbench("strict").splitlines()]
    printed = capsys.readouterr().out
    assert len(changed) == N / 4
    assert {(one["score_before"], one["score_after"], one["parsed_after"]) for one in changed} == {(1.0, 0.0, False)}
    line = pd.read_csv(tmp_path / "run/rescored.csv").iloc[0]
    assert (line["look"], line["answers"], line["changed"], line["lower"]) == ("full", N, N / 4, N / 4)
    assert (line["accuracy_before"], line["accuracy_after"]) == (1.0, 0.75)
    assert "before: mmbench/lmms_eval; after: strict" in printed
    assert mmbench("earlier", "dataset.rule=strict").count("\n") == N / 4  # what lmms_eval's rule has left in the store
    with pytest.raises(VoVNetError, match=r"store\.rescore=lenient is no rule or scorer; choose one of"):
        mmbench("lenient")
