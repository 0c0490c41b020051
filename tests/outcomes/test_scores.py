"""Scores apart from answers: another scorer judges what is stored, and no model is loaded."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure, compose_config
from tests.data.test_benchmarks import MMBENCH, write_tsv
from vovnet.actions import Action
from vovnet.data import VQADataset, load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.convert import branch_table
from vovnet.outcomes.inspect import prune, summarise
from vovnet.outcomes.judge import make_judge
from vovnet.outcomes.load import Loaded, load_outcomes, stored_outcomes
from vovnet.outcomes.rows import ModelOutcomes, scores_of
from vovnet.outcomes.store import OutcomeStore, Table, TableKey
from vovnet.outcomes.tables import Tables
from vovnet.report.table import print_store
from vovnet.schema import RunConfig
from vovnet.scoring import SCORERS, Scorer
from vovnet.session import Session
from vovnet.vlm import loading
from vovnet.vlm.files import find_checkpoint

FIXED = (Action.NO, Action.FULL)


def load(config: RunConfig, count: int = 24, actions: tuple[Action, ...] = FIXED, **given: Session) -> Loaded:
    dataset = load_dataset(config.dataset, config.eval.split)
    return load_outcomes(config, find_checkpoint(config.backbone), dataset, actions, count, **given)


@pytest.fixture
def forbid_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the backbone cannot be loaded."""
    return lambda: monkeypatch.setattr(loading, "load_backbone", lambda *_: pytest.fail("the backbone was loaded"))


def longest(answer: str, references: Sequence[str], options: Sequence[str]) -> tuple[float, bool]:
    """A user's rule: long answers are good."""
    return min(1.0, len(answer) / 10), True


@pytest.mark.parametrize(
    "scorer",
    [
        replace(SCORERS["easy_vqa"], version=99, rule=longest),
        replace(SCORERS["easy_vqa"], source="a" * 16, rule=longest),
        Scorer("mine", 1, longest, "b" * 16),
    ],
)
def test_another_scorer_or_version_scores_stored_answers_without_the_model(
    configure: Configure, forbid_model: Callable[[], None], monkeypatch: pytest.MonkeyPatch, scorer: Scorer
) -> None:
    first = load(configure())
    forbid_model()
    monkeypatch.setitem(SCORERS, "easy_vqa", scorer)
    again = load(configure())
    assert set(again.computed.values()) == {0}
    for action in FIXED:
        before, after = first.outcomes.branches[action], again.outcomes.branches[action]
        assert after.score.tolist() == [longest(answer, (), ())[0] for answer in after.answer]
        for name, column in before.columns().items():
            assert name in ("score", "parsed", "refused") or np.array_equal(column, after.columns()[name])


def test_another_rule_of_a_set_or_of_a_part_of_a_mixture_scores_stored_answers(
    configure: Configure, easy_data: Path, tmp_path: Path, forbid_model: Callable[[], None]
) -> None:
    path = write_tsv(tmp_path / "MMBench_DEV_EN.tsv", MMBENCH)
    mixture = [
        "dataset=mini", "~dataset.parts.mini_mmmu", "~dataset.parts.mini_textvqa",
        "+dataset@dataset.parts.easy=easy_vqa",
        f"dataset.parts.easy.path={easy_data}", f"dataset.parts.mini_mmbench.path={path}",
        "dataset.parts.mini_mmbench.generate=null", "dataset.parts.mini_mmbench.files.test=['*DEV*.tsv']",
    ]  # fmt: skip
    backbone = [f"backbone.path={configure().backbone.path}", f"paths.runs={tmp_path}/runs", "eval.max_new_tokens=2"]

    def mixed(*overrides: str) -> RunConfig:
        return compose_config(*mixture, *backbone, *overrides)

    judged = []
    for overrides in ([], ["dataset.parts.mini_mmbench.rule=strict"]):
        config = mixed(*overrides)
        dataset = load_dataset(config.dataset, "test")
        outcomes = load(config, len(dataset), (Action.FULL,)).outcomes.branches[Action.FULL]
        judged.append({dataset.member(i).scorer for i in range(len(dataset))})
        for i, answer in enumerate(outcomes.answer):
            found = SCORERS[dataset.member(i).scorer](answer, dataset[i])
            assert (found.value, found.parsed) == (outcomes.score[i], outcomes.parsed[i])
        forbid_model()
    assert judged == [{"mmbench/lmms_eval", "easy_vqa"}, {"mmbench/strict", "easy_vqa"}]


def test_a_scorer_that_is_not_there_is_named(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SCORERS, "easy_vqa")
    with pytest.raises(
        VoVNetError, match=r"^there is no scorer named 'easy_vqa'; choose one of anls, choice, exact, mmbench/"
    ):
        load(configure())


def said(answers: Sequence[str | None], mark: int = 0) -> ModelOutcomes:
    """Answers of a made-up model that reasons before it answers."""
    numbers = np.full(len(answers), mark, dtype=np.int32)
    return ModelOutcomes(
        prediction=np.array([f"<think>red</think>{answer}" for answer in answers], dtype=object),
        answer=np.array(answers, dtype=object),
        confidence=numbers.astype(np.float32),
        **dict.fromkeys(("vision_tokens", "prompt_tokens", "reused_tokens", "patches", "generated_tokens"), numbers),
        seconds=numbers.astype(np.float32),
    )


@pytest.fixture(scope="module")
def dataset(easy_data: Path) -> VQADataset:
    return load_dataset(compose_config(f"dataset.path={easy_data}").dataset, "test")


KEYS = {"half": TableKey("half", {"made": "up"})}
ANSWERS = st.lists(
    st.sampled_from([None, "red", "Yes.", "circle", "I cannot see the image.", "", "a <b> 红"]), min_size=1
)


def tables(folder: Path, dataset: VQADataset) -> Tables:
    return Tables.of(OutcomeStore(folder), KEYS, dataset, with_text=False)


@given(
    answers=ANSWERS.filter(lambda a: len(a) < 40), cuts=st.sets(st.integers(1, 39)), stops=st.lists(st.integers(1, 40))
)
def test_stored_answers_get_the_scores_that_they_would_have_got_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    dataset: VQADataset,
    answers: list[str | None],
    cuts: set[int],
    stops: list[int],
) -> None:
    """However they lie in parts, and however many were judged before."""
    own, size = tables(tmp_path_factory.mktemp("store"), dataset), len(answers)
    edges = [0, *sorted(cut for cut in cuts if cut < size), size]
    for start, stop in itertools.pairwise(edges):
        own.answers["half"].write(start, branch_table([said(answers[start:stop])], range(stop - start)), {})
    for stop in [*stops, size]:
        own.judge(dataset, stop)  # what is not stored yet is left out
    found, judge = own.branch("half", size), make_judge(dataset)
    wanted = scores_of([judge(index, answer) for index, answer in enumerate(answers)])
    assert found.answer.tolist() == answers
    for name in ("score", "parsed", "refused"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))


def test_scores_of_answers_that_were_replaced_are_made_anew(tmp_path: Path, dataset: VQADataset) -> None:
    """Another machine may write other answers in the place of damaged ones."""
    own = tables(tmp_path, dataset)
    right, wrong = [dataset[i].answers[0] for i in range(8)], ["no such word"] * 8
    own.answers["half"].write(0, branch_table([said(right)], range(8)), {})
    own.judge(dataset, 8)
    assert own.branch("half", 8).score.tolist() == [1.0] * 8
    own.answers["half"].parts()[0][1].unlink()
    own.answers["half"].write(0, branch_table([said(wrong)], range(8)), {})
    with pytest.raises(VoVNetError, match="the answers that it judges were replaced"):
        own.branch("half", 8)
    own.judge(dataset, 8)
    assert own.branch("half", 8).score.tolist() == [0.0] * 8


def test_damaged_scores_are_set_aside_and_made_anew_without_the_model(
    configure: Configure, forbid_model: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = load(configure()).outcomes
    (part,) = Path(configure().paths.store).glob("full-*/scores-*/*.arrow")
    part.write_bytes(part.read_bytes()[:-40])
    forbid_model()
    again = load(configure())
    assert np.array_equal(again.outcomes.branches[Action.FULL].score, first.branches[Action.FULL].score)
    assert set(again.computed.values()) == {0}
    assert "is damaged" in caplog.text
    assert len(list(part.parent.glob("*.damaged"))) == 1


def test_answers_that_turn_out_damaged_when_they_are_scored_are_computed_anew(configure: Configure) -> None:
    first = load(configure()).outcomes
    (part,) = Path(configure().paths.store).glob("full-*/*.arrow")
    shutil.rmtree(next(part.parent.glob("scores-*")))
    part.write_bytes(part.read_bytes()[:-40])
    again = load(configure())
    assert again.computed == {"text": 0, "no": 0, "full": 24}
    assert np.array_equal(again.outcomes.branches[Action.FULL].score, first.branches[Action.FULL].score)


def test_more_rows_are_scored_in_a_part_of_their_own(configure: Configure) -> None:
    load(configure(), 10)
    load(configure(), 24)
    names = sorted(p.name[:19] for p in Path(configure().paths.store).glob("full-*/scores-*/*.arrow"))
    assert names == ["000000000-000000010", "000000010-000000024"]


def test_a_session_gives_the_same_object_and_looks_at_no_file_again(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session()
    first = load(configure(), session=session)
    assert first.computed == {"text": 24, "no": 24, "full": 24}
    again = load(configure("policy.lambda_cost=0.7"), session=session)
    assert again.outcomes is first.outcomes
    assert set(again.computed.values()) == {0}
    fewer = load(configure(), actions=(Action.FULL,), session=session).outcomes
    assert fewer.text is first.outcomes.text
    assert fewer.branches[Action.FULL] is first.outcomes.branches[Action.FULL]
    assert load(configure(), session=Session()).outcomes is not first.outcomes
    monkeypatch.setattr(Table, "parts", lambda _: pytest.fail("the store was read"))
    assert load(configure(), session=session).outcomes is first.outcomes


def test_outcomes_of_answers_that_are_there_need_no_computing(configure: Configure) -> None:
    config = configure()
    data, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    assert stored_outcomes(config, checkpoint, data, FIXED, 24) is None
    made = load(config).outcomes
    found = stored_outcomes(config, checkpoint, data, FIXED, 24)
    assert found is not None
    assert np.array_equal(found.branches[Action.NO].score, made.branches[Action.NO].score)


def test_scores_are_listed_and_pruned_with_their_answers_or_alone(
    tmp_path: Path, dataset: VQADataset, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tables(tmp_path, dataset)
    own.answers["half"].write(0, branch_table([said(["red"] * 4)], range(4)), {})
    own.judge(dataset, 3)
    answers, scores = summarise(tmp_path)
    assert (answers.id, answers.rows, scores.rows) == (KEYS["half"].id, 4, 3)
    assert scores.id == f"{answers.id}/{own.scores['half'].key.id}"
    print_store([answers, scores])
    assert "scores by easy_vqa version 2" in capsys.readouterr().out
    assert prune(tmp_path, "scores-", confirm=True) == [scores]
    assert [table.id for table in summarise(tmp_path)] == [answers.id]
    own.judge(dataset, 4)
    assert len(prune(tmp_path, "half-", confirm=True)) == 2
    assert summarise(tmp_path) == []
