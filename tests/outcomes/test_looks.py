"""Looks of any name, and columns that a look may lack."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure
from tests.outcomes.test_scores import said
from vovnet.actions import Action
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.convert import branch_from_table, branch_table, state_from_table, state_table
from vovnet.outcomes.keys import state_key, table_keys
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.looks import Look, usual_looks
from vovnet.outcomes.rows import BlockRows, LookState, Outcomes, no_text, scores_of, with_scores
from vovnet.outcomes.store import OutcomeStore, TableKey
from vovnet.schema import Resolution, RunConfig
from vovnet.scoring import Score
from vovnet.vlm.files import find_checkpoint

SIDE = Resolution(64, 4096)
NAMES = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True).filter(lambda name: name != "text")


def keys(config: RunConfig, *looks: Look) -> dict[str, TableKey]:
    dataset = load_dataset(config.dataset, "test")
    return dict(table_keys(config, find_checkpoint(config.backbone), dataset, looks))


@given(name=NAMES, sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_any_look_and_its_states_are_stored_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, sizes: list[int]
) -> None:
    """In parts, whose rows come in any order; states in half precision."""
    table = OutcomeStore(tmp_path_factory.mktemp("store")).table(TableKey(Look(name, SIDE).name, {"made": "up"}))
    states, row = table.inner(state_key(table.key)), 0
    for size in sizes:
        order = np.random.default_rng(row).permutation(size)
        numbers = (row + order).astype(np.float32)
        pairs = BlockRows([np.stack([numbers, -numbers], axis=1).astype(np.float16)])
        table.write(row, branch_table([said([f"{number}" for number in numbers])], order.tolist()), {})
        states.write(row, state_table([LookState(pairs, numbers + 0.25, numbers + 0.5)], order.tolist()), {})
        row += size
    found, opened = branch_from_table(table.read(row)), states.rows(row)
    read, numbers = state_from_table(opened.table, opened.matrix("hidden")), np.arange(row, dtype=np.float32)
    assert found.answer.tolist() == [f"{number}" for number in numbers]
    assert found.prediction.tolist() == [f"<think>red</think>{number}" for number in numbers]
    assert read.hidden.joined().dtype == np.float16
    assert np.array_equal(read.hidden.take(np.arange(row)), np.stack([numbers, -numbers], axis=1))
    assert np.array_equal(read.entropy, numbers + 0.25)
    assert np.array_equal(read.margin, numbers + 0.5)


def test_who_needs_a_missing_column_gets_one_sentence() -> None:
    scores = scores_of([Score(1.0, True)] * 2)
    outcomes = Outcomes(no_text(2), {Action.FULL: with_scores(said(["a", "b"]), scores)})
    assert outcomes.stacked("score", [Action.FULL]).tolist() == [[1.0], [1.0]]
    with pytest.raises(VoVNetError, match=r"^the outcomes of FULL hold no nll, since this backbone gives none; choose"):
        outcomes.stacked("nll", [Action.FULL])


@pytest.mark.parametrize("name", ["", "Full", "a-b", "../x", "text", "größer", "a b"])
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(VoVNetError, match="a look cannot be named"):
        Look(name, None)


def test_all_that_a_look_is_and_its_name_tells_tables_apart(configure: Configure) -> None:
    looks = [
        Look("half", None),
        Look("half", SIDE),
        Look("half", Resolution(32, 4096)),
        Look("half", SIDE, inside=Resolution(128, 16384)),
        Look("half", SIDE, pruning=("stride", 0.5)),
        Look("half", SIDE, pruning=("merge", 0.5)),
        Look("other", SIDE),
    ]
    assert len({keys(configure(), look)[look.name].id for look in looks}) == len(looks)


def test_the_usual_looks_are_the_configurations(configure: Configure) -> None:
    config = configure("policy/baseline=vision_token_pruning_proxy", "policy.baseline.pruning_ratio=0.5")
    no, coarse, full = usual_looks(config, tuple(Action))
    budget = config.vision_budget
    assert (no.resolution, no.inside, no.pruning) == (None, None, None)
    assert (coarse.resolution, coarse.inside, coarse.pruning) == (budget.coarse, budget.full, None)
    assert (full.resolution, full.inside) == (budget.full, None)
    assert full.pruning is not None
    assert full.pruning[1] == 0.5


def test_the_state_after_a_look_is_collected_where_it_is_asked_for(configure: Configure) -> None:
    """Without an image it is the text pass's own; asked for later, it is read without answering again."""
    config = configure()
    dataset, checkpoint = load_dataset(config.dataset, "test"), find_checkpoint(config.backbone)
    looks = (Action.NO, Action.COARSE)
    plain = load_outcomes(config, checkpoint, dataset, looks, 20)
    assert plain.outcomes.branches[Action.NO].hidden is None
    with pytest.raises(VoVNetError, match="hold no state after the look; collect them with policy=sequential"):
        _ = plain.outcomes.branches[Action.NO].state
    loaded = load_outcomes(config, checkpoint, dataset, looks, 20, states=looks)
    assert loaded.computed == {"text": 0, "no": 0, "coarse": 0, "no state": 20, "coarse state": 20}
    text, no = loaded.outcomes.text, loaded.outcomes.branches[Action.NO].state
    assert np.array_equal(no.hidden.take(np.arange(20)), text.hidden.take(np.arange(20)))
    assert np.array_equal(no.entropy, text.entropy)
    at_once = load_outcomes(
        configure("paths.store=${paths.runs}/other"), checkpoint, dataset, looks, 20, states=looks
    ).outcomes
    for one, other in [[found.branches[Action.COARSE].state for found in (loaded.outcomes, at_once)]]:
        assert np.allclose(one.hidden.take(np.arange(20)), other.hidden.take(np.arange(20)), atol=1e-5)
        assert np.allclose(one.margin, other.margin, atol=1e-5)
