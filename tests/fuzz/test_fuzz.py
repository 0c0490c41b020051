"""The fuzz itself: its compositions are those of their seed, and it sees what it looks for."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.composer import composed
from tests.fuzz.checks import computed, cost_rises, differences, problems_of_files, sentence_problems
from tests.fuzz.draw import KEYS, composition, override
from vovnet.compose import to_typed
from vovnet.errors import VoVNetError

ROW = {
    "lambda_cost": 0.1, "accuracy": 0.5, "accuracy_ci_low": 0.2, "accuracy_ci_high": 0.8, "avg_cost": 0.3,
    "action_rate_no": 0.25, "action_rate_coarse": 0.5, "action_rate_full": 0.25, "fallback_mode": None,
    "avg_looks": 1.0, "avg_vision_tokens": 4.0, "avg_text_tokens": 9.0, "avg_generated_tokens": 1.0, "gflops": None,
}  # fmt: skip
LINE = dict.fromkeys(("id", "action", "prediction", "score", "parsed", "refused", "vision_tokens", "cost"), "x")


def sweep(folder: Path, *changes: dict[str, object], rows_computed: int = 0, line: str = json.dumps(LINE)) -> Path:
    """What a sweep leaves, as far as the checks read it; each job's row with its changes."""
    rows = [ROW | {"lambda_cost": number / 10} | change for number, change in enumerate(changes)]
    for number, row in enumerate(rows):
        (folder / f"{number}").mkdir(parents=True)
        summary = {"result": row, "rows_computed": {"full": rows_computed}}
        (folder / f"{number}/summary.json").write_text(json.dumps(summary))
        (folder / f"{number}/predictions.jsonl").write_text(line + "\n")
    cells = [",".join("" if row[name] is None else str(row[name]) for name in ROW) for row in rows]
    (folder / "results.csv").write_text("\n".join([",".join(ROW), *cells]))
    return folder


def test_a_composition_is_that_of_its_seed_and_most_are_accepted() -> None:
    drawn = [composition(Random(f"7 {number}")) for number in range(40)]
    assert drawn == [composition(Random(f"7 {number}")) for number in range(40)]
    assert sum(map(_is_accepted, (one.overrides for one in drawn))) > 20


@pytest.mark.parametrize("key", KEYS)
def test_values_outside_of_a_range_are_refused(key: str) -> None:
    with pytest.raises(VoVNetError, match=key.rpartition(".")[2]):
        to_typed(composed("eval", [override(key, Random(0), outside=True)]))


def _is_accepted(overrides: tuple[str, ...]) -> bool:
    try:
        to_typed(composed("eval", overrides))
    except VoVNetError:
        return False
    return True


def problems(folder: Path) -> Iterator[str]:
    yield from problems_of_files(folder)
    yield from cost_rises(folder)
    yield from map(str, computed(folder))


def test_a_sweep_in_order_has_no_problem(tmp_path: Path) -> None:
    place = sweep(tmp_path / "replay", {}, {"avg_cost": 0.2})
    assert [*problems(place)] == []
    assert [*differences(place, sweep(tmp_path / "live", {}), 0.0)] == []


@pytest.mark.parametrize(
    ("changes", "rows", "line", "found"),
    [
        ([{}, {"avg_cost": 0.31}], 0, "{}", "cost rises with lambda"),
        ([{"action_rate_no": 0.3}], 0, "{}", "do not sum to 1"),
        ([{"accuracy": 0.9}], 0, "{}", "outside of its interval"),
        ([{"gflops": float("nan")}], 0, "{}", "gflops is nan"),
        ([{}], 0, '{"score": NaN}', "predictions.jsonl is no strict JSON"),
        ([{}], 3, "{}", "full"),
    ],
)
def test_what_does_not_hold_is_found(
    changes: list[dict[str, object]], rows: int, line: str, found: str, tmp_path: Path
) -> None:
    assert any(found in problem for problem in problems(sweep(tmp_path / "s", *changes, rows_computed=rows, line=line)))


def test_a_live_run_that_differs_is_found(tmp_path: Path) -> None:
    replay, other = sweep(tmp_path / "replay", {}), json.dumps(LINE | {"prediction": "y"})
    live = sweep(tmp_path / "live", {"avg_text_tokens": 8.0}, line=other)
    assert len([*differences(replay, live, 0.0)]) == 2


@pytest.mark.parametrize("said", ["", "Traceback (most recent call last)", "one line.\nanother"])
def test_what_is_no_sentence_is_found(said: str) -> None:
    assert [*sentence_problems(said)]
    assert not [*sentence_problems("it leaks:\n  one row")]
