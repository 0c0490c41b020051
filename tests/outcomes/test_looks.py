"""Looks of any name, and columns that a look may lack."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Configure
from tests.outcomes.test_scores import said
from vovnet.actions import Action
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.collect import Collector
from vovnet.outcomes.convert import branch_from_table, branch_table
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.load import branch_backbone, load_outcomes
from vovnet.outcomes.looks import Look, usual_looks
from vovnet.outcomes.rows import BlockRows, ModelOutcomes, Outcomes, no_text, scores_of, with_scores
from vovnet.outcomes.store import OutcomeStore, TableKey
from vovnet.schema import Resolution, RunConfig
from vovnet.scoring import Score
from vovnet.vlm.files import find_checkpoint

SIDE = Resolution(64, 4096)
NAMES = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True).filter(lambda name: name != "text")


def keys(config: RunConfig, *looks: Look) -> dict[str, TableKey]:
    dataset = load_dataset(config.dataset, "test")
    return dict(table_keys(config, find_checkpoint(config.backbone), dataset, looks))


def parts(hidden: bool, sizes: list[int]) -> list[ModelOutcomes]:
    """Made-up answers in parts; numbers count on."""
    found, row = list[ModelOutcomes](), 0
    for size in sizes:
        numbers = np.arange(row, row + size, dtype=np.float32)
        one = said([f"{number}" for number in numbers])
        states = BlockRows([np.stack([numbers, -numbers], axis=1).astype(np.float16)]) if hidden else None
        found.append(ModelOutcomes(**one.columns(), hidden=states))
        row += size
    return found


@given(name=NAMES, hidden=st.booleans(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_any_look_is_stored_and_read_back_with_the_columns_that_it_has(
    tmp_path_factory: pytest.TempPathFactory, name: str, hidden: bool, sizes: list[int]
) -> None:
    table = OutcomeStore(tmp_path_factory.mktemp("store")).table(TableKey(Look(name, SIDE).name, {"made": "up"}))
    row = 0
    for one in parts(hidden, sizes):
        order = np.random.default_rng(row).permutation(len(one))
        states = None if one.hidden is None else BlockRows([one.hidden.joined()[order]])  # in half precision
        table.write(row, branch_table([replace(one.take(order), hidden=states)], order.tolist()), {})
        row += len(one)
    opened = table.rows(row)
    found, numbers = branch_from_table(opened.table, opened.matrix("hidden")), np.arange(row, dtype=np.float32)
    assert found.answer.tolist() == [f"{number}" for number in numbers]
    assert found.prediction.tolist() == [f"<think>red</think>{number}" for number in numbers]
    assert (found.hidden is not None) == hidden
    if found.hidden is not None:
        assert found.hidden.joined().dtype == np.float16
        assert np.array_equal(found.hidden.take(np.arange(row)), np.stack([numbers, -numbers], axis=1))


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
        Look("half", SIDE, hidden=True),
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


def test_a_hidden_state_after_a_look_is_collected_where_it_is_asked_for(configure: Configure) -> None:
    """Without an image it is the text pass's own."""
    config = configure()
    dataset, store = load_dataset(config.dataset, "test"), OutcomeStore(configure().paths.store)
    looks = [Look("no", None, hidden=True), Look("full", config.vision_budget.full)]
    tables = {name: store.table(key) for name, key in keys(config, *looks).items()}
    Collector(store, tables, dataset, config.eval, lambda: branch_backbone(config), {}, "test").fill(20)
    text = load_outcomes(config, find_checkpoint(config.backbone), dataset, (), 20).outcomes.text
    rows = {name: table.rows(20) for name, table in tables.items()}
    no, full = (branch_from_table(rows[name].table, rows[name].matrix("hidden")) for name in ("no", "full"))
    assert full.hidden is None
    assert no.hidden is not None
    assert np.array_equal(no.hidden.take(np.arange(20)), text.hidden.take(np.arange(20)))
