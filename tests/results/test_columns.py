"""Every column is described once; older tables stay readable; a policy's own settings are columns like others."""

import csv
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.analyses.paired_runs import seed_rows
from vovnet.errors import VoVNetError
from vovnet.report.frontier import curves
from vovnet.report.labels import setting
from vovnet.results.columns import (
    COLUMNS,
    CURVE,
    DESCRIBED,
    ESSENTIAL,
    MATRIX,
    PROTOCOL,
    SETTINGS,
    ResultRow,
    as_family,
    grouped,
    order,
    rates_of,
    record,
    same_row,
)
from vovnet.results.read import read_results
from vovnet.results.sweep import write_tables
from vovnet.results.write import write_results

ROW = ResultRow(
    **{name: one.default for name, one in DESCRIBED.items() if name not in ESSENTIAL}
    | {"dataset": "easy_vqa", "split": "test", "num_samples": 5, "baseline_name": "words", "avg_cost": 0.1}
    | {"accuracy": 0.5, "accuracy_ci_low": 0.4, "accuracy_ci_high": 0.6}
    | {"action_rate_no": 1.0, "action_rate_coarse": 0.0, "action_rate_full": 0.0}
)
EXTRA = {"words": 3, "rate": 0.25, "kind": "tf-idf, (1, 2)", "lower": True, "code": "007", "no": "nan"}
LEFT_OUT = {"unset": None, "empty": ""}


def with_extra(**settings: Any) -> ResultRow:
    return replace(ROW, extra=as_family(settings))


def changed(path: Path, change: Any) -> None:
    """Rewrite the only line of a table, a mapping of columns to cells."""
    with path.open(newline="") as file:
        (line,) = csv.DictReader(file)
    change(line)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, line)
        writer.writeheader()
        writer.writerow(line)


def test_every_column_says_what_it_is() -> None:
    assert [field.name for field in fields(ResultRow)] == list(DESCRIBED)
    for name, one in DESCRIBED.items():
        assert one.meaning, name
        assert "\n" not in one.meaning, name


def test_the_roles_nest() -> None:
    assert set(PROTOCOL) < set(CURVE) < set(SETTINGS) < set(MATRIX)
    assert {"accuracy", "avg_cost"} <= set(MATRIX) - set(SETTINGS)
    assert ESSENTIAL.issubset(COLUMNS)


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - ESSENTIAL))
def test_a_table_that_lacks_a_later_column_is_read(name: str, tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", [ROW])
    changed(tmp_path / "results.csv", lambda line: line.pop(name))
    (row,) = read_results(tmp_path / "results.csv")
    assert row == replace(ROW, **{name: DESCRIBED[name].default})


@pytest.mark.parametrize("name", sorted(ESSENTIAL))
def test_a_table_that_lacks_what_a_result_is_is_refused(name: str, tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", [ROW])
    changed(tmp_path / "results.csv", lambda line: line.pop(name))
    with pytest.raises(VoVNetError, match=rf"lacks the column {name}; run the evaluation again\.$"):
        read_results(tmp_path / "results.csv")


def test_columns_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", [ROW])
    changed(tmp_path / "results.csv", lambda line: line.update(energy="5 J"))
    assert read_results(tmp_path / "results.csv") == [ROW]


def test_a_policys_settings_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [with_extra(**EXTRA, **LEFT_OUT), with_extra(other=-1e-9), ROW]
    write_results(tmp_path / "results.csv", rows)
    header = (tmp_path / "results.csv").read_text().splitlines()[0].split(",")
    names = [f"policy.{name}" for name in sorted([*EXTRA, "other"])]
    assert header == [*COLUMNS, *names]
    assert read_results(tmp_path / "results.csv") == rows


def test_a_summary_belongs_to_a_row_if_all_settings_do() -> None:
    for row in (ROW, with_extra(**EXTRA)):
        recorded = json.loads(json.dumps(record(row)))
        assert same_row(row, recorded)
        assert not same_row(row, recorded | {"accuracy": 0.4})
        assert not same_row(row, recorded | {"policy.words": 4})
        assert not same_row(row, {name: value for name, value in recorded.items() if name != "accuracy"})
    assert not same_row(with_extra(words=3), record(ROW))
    for damaged in (None, [], 5, {}):
        assert not same_row(ROW, damaged)


def test_a_policys_settings_tell_rows_apart(tmp_path: Path) -> None:
    few, many = with_extra(words=3, kind="keyword"), with_extra(words=20, kind="keyword")
    assert setting(few) == "words kind=keyword words=3"
    assert setting(replace(few, policy="words of the question")) == "words of the question"
    assert [len(group) for group in grouped([few, many, few], CURVE)] == [2, 1]
    assert sorted([many, few], key=order) == [few, many]
    assert [curve.label for curve in curves([few, many, with_extra(kind="tfidf")])] == [
        "words kind=keyword",
        "words kind=tfidf",
    ]
    own = [replace(row, baseline_name="", lambda_cost=0.1) for row in (few, many)]
    assert {curve.label for curve in curves(own)} == {"VoVNet, kind=keyword, words=3", "VoVNet, kind=keyword, words=20"}
    assert seed_rows([*own, *(replace(row, seed=1) for row in own)])[0]["policy.words"] == 3
    write_tables(tmp_path, [few, many])
    with (tmp_path / "eval_matrix.csv").open(newline="") as file:
        assert [line["policy.words"] for line in csv.DictReader(file)] == ["3", "20"]


def test_rows_are_sorted_by_their_settings_an_empty_one_first() -> None:
    settings = [("entropy", 0.1, None), ("entropy", 0.5, 8), ("entropy", 0.5, 16), ("margin", None, None)]
    rows = [replace(ROW, uncertainty_metric=m, threshold=t, long_side=s) for m, t, s in settings]
    rows = [ROW, *rows, replace(ROW, baseline_name="zero"), replace(ROW, dataset="vqa", baseline_name="")]
    mixed = rows[::-1]
    assert sorted(mixed, key=order) == rows


anything = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), anything), max_size=6), st.data())
def test_rows_of_any_settings_have_one_order(settings: list[dict[str, Any]], data: st.DataObject) -> None:
    rows = [with_extra(**one) for one in settings]
    keys = [order(row) for row in sorted(rows, key=order)]
    assert keys == [order(row) for row in sorted(data.draw(st.permutations(rows)), key=order)]


def test_rates_of_a_menus_own_looks_are_columns_that_count(tmp_path: Path) -> None:
    row = replace(ROW, action_rate_no=0.5, rates=as_family({"side32": 0.5, "side64_merge75": 0.0}))
    write_results(tmp_path / "results.csv", [row, ROW])
    header = (tmp_path / "results.csv").read_text().splitlines()[0].split(",")
    assert header == [*COLUMNS, "rate.side32", "rate.side64_merge75"]
    assert read_results(tmp_path / "results.csv") == [row, ROW]
    assert rates_of(row) == {"no": 0.5, "coarse": 0, "full": 0, "side32": 0.5, "side64_merge75": 0}
    write_results(tmp_path / "results.csv", [row])
    for wrong, said in (("0.4", "do not add up to 1"), ("1.5", "a rate is not between"), ("much", "a rate is not")):
        changed(tmp_path / "results.csv", lambda line, wrong=wrong: line.update({"rate.side32": wrong}))
        with pytest.raises(VoVNetError, match=said):
            read_results(tmp_path / "results.csv")
