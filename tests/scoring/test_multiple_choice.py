"""MMMU's and MMBench's reading of free text, case by case.

The cases stand in ``cases/``; expected values were worked out from the rules by hand and agree with the code
of lmms-eval 0.7.3, where its assertion of four options lets it run. "-" is an answer that cannot be read.
"""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.scoring.choices import infer_choice, lettered, score_mmbench
from vovnet.scoring.mmmu import normalize_open, open_correct, parse_choice, parse_open, score_mmmu

ANIMALS = ("a small bird", "a cat", "2", "a dog")

OPTIONS = {
    "animals": ANIMALS,
    "colors": ("red", "green", "blue", "yellow"),
    "yesno": ("yes", "no"),
    "numbers": ("1", "10", "100", "0.1"),
    "long": ("The cat sleeps", "The cat", "A dog runs fast", "None of the above"),
    "units": ("5 cm", "15 cm", "25 cm", "2.5 m"),
    "five": ("oak", "pine", "birch", "maple", "elm"),
}


def cases(name: str) -> list[tuple[str, str, str]]:
    """Rows of a table; line breaks stand as \\n."""
    with (Path(__file__).parent / "cases" / f"{name}.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    return [(first, second.replace("\\n", "\n"), third) for first, second, third in rows]


def test_there_are_enough_cases() -> None:
    tables = {name: cases(name) for name in ("mmbench", "mmmu_choice", "mmmu_open")}
    assert len(tables["mmbench"]) >= 200
    assert len(tables["mmmu_choice"]) >= 200
    assert len(tables["mmmu_open"]) >= 100
    assert all(len({row[:2] for row in rows}) == len(rows) for rows in tables.values())


@pytest.mark.parametrize(("options", "response", "letter"), cases("mmmu_choice"))
def test_mmmu_choice(options: str, response: str, letter: str) -> None:
    assert (parse_choice(response, OPTIONS[options]) or "-") == letter


@pytest.mark.parametrize(("response", "reference", "correct"), cases("mmmu_open"))
def test_mmmu_open(response: str, reference: str, correct: str) -> None:
    assert open_correct(parse_open(response.replace("\\n", "\n")), [reference]) is (correct == "1")


@pytest.mark.parametrize(("options", "response", "letter"), cases("mmbench"))
def test_mmbench_choice(options: str, response: str, letter: str) -> None:
    assert (infer_choice(response, lettered(OPTIONS[options])) or "-") == letter


# Wrong letters that an earlier implementation scored right by matching substrings.
@pytest.mark.parametrize(
    ("response", "gold"),
    [("B", "A"), ("A", "B"), ("B", "C"), ("A", "C"), ("A", "D"), ("C", "A"), ("D", "A"), ("B", "D")],
)
def test_a_wrong_letter_is_wrong_whatever_the_options_say(response: str, gold: str) -> None:
    assert score_mmbench(response, (gold,), ANIMALS) == (0.0, True)
    assert score_mmmu(response, (gold,), ANIMALS) == (0.0, True)


def test_mmmu_open_accepts_any_of_several_references() -> None:
    assert score_mmmu("navy", ("blue", "navy"), ()) == (1.0, True)
    assert normalize_open("X") == [" x", "x "]


def test_an_unreadable_choice_is_unparsed_and_wrong_and_never_drawn() -> None:
    assert score_mmmu("no idea", ("A",), ANIMALS) == (0.0, False)
    assert all(score_mmmu("no idea", (letter,), ANIMALS)[0] == 0 for letter in "ABCD")


def test_missing_options_of_mmbench_are_no_texts() -> None:
    assert score_mmbench("dog", ("A",), ("dog", "", "cat")) == (1.0, True)
    assert score_mmbench("cat", ("C",), ("dog", "", "cat")) == (1.0, True)


@given(st.permutations(["circle", "square", "hexagon", "star"]), st.sampled_from(["circle", "star"]))
def test_permuting_options_permutes_the_answer(options: list[str], said: str) -> None:
    letter = "ABCD"[options.index(said)]
    assert infer_choice(said, dict(zip("ABCD", options, strict=True))) == letter
    assert parse_choice(f"this looks very much like a {said}", options) == letter
    assert parse_choice(letter, options) == letter


@given(st.text(max_size=40), st.lists(st.text(max_size=8), min_size=1, max_size=5))
def test_no_text_breaks_a_reader(response: str, options: list[str]) -> None:
    assert parse_choice(response, options) in (None, *"ABCDE"[: len(options)])
    parse_open(response)
    infer_choice(response, dict(zip("ABCDE", options, strict=False)))
