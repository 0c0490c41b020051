"""MMMU's and MMBench's reading of free text, case by case.

Expected values were worked out from the rules and agree with the code of lmms-eval 0.7.3. The first
rows of each table are the false positives of an earlier implementation that matched substrings.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.scoring.mmbench import infer_choice, score_mmbench
from vovnet.scoring.mmmu import normalize_open, open_correct, parse_choice, parse_open, score_mmmu

ANIMALS = ("a small bird", "a cat", "2", "a dog")

MMMU_CHOICES = [
    ("B", "B"),
    ("B.", "B"),
    ("(B)", "B"),
    ("b", None),  # lower-case letters are no letters
    ("a cat", None),  # an option's text counts in responses of more than five words only
    ("2", None),
    ("", None),
    ("   ", None),
    ("...", None),
    ("The answer is B", "B"),
    ("The answer is (B).", "B"),
    ("A or B", "B"),  # the last one counts
    ("B or A", "A"),
    ("(A) or (B)", "B"),
    ("(A), not B", "A"),  # brackets come first
    ("A cat", "A"),  # the article, as upstream reads it
    ("B: a cat", None),  # a colon is no sign
    ("B) a cat", None),
    ("Answer: C", "C"),
    ("'D'", "D"),
    ("D!", "D"),
    ("E", None),  # there are four options
    ("ANSWER B.", "B"),
    ("It is clearly the animal a dog here", "D"),
    ("it might be a cat but more likely a dog", "D"),
    ("this shows neither of the given animals at all", None),
    ("USA today", "A"),  # "A " inside "USA ", as upstream reads it
    ("B.\nBecause of the cat", "B"),
    ("I think B. It has fur.", "B"),
    ("A. B. C.", "C"),  # the last full stop is stripped, and "C" alone stands before a space
    ("xA. yB. z", "A"),  # found as "X." but ranked by " X ", which is nowhere: the first counts
]


@pytest.mark.parametrize(("response", "letter"), MMMU_CHOICES)
def test_mmmu_choice(response: str, letter: str | None) -> None:
    assert parse_choice(response, ANIMALS) == letter


MMMU_OPEN = [
    ("blue", "blue", True),
    ("Blue.", "blue", True),
    ("the answer is blue", "blue", True),
    ("navy blue", "blue", True),  # the reference may stand inside
    ("blu", "blue", False),
    ("3.14", "3.14", True),
    ("3.141", "3.14", True),  # two decimals
    ("3.15", "3.14", False),
    ("x = 5", "5", True),
    ("x = 5.0", "5", True),
    ("about 1,234 people", "1234", True),
    ("1.5e3", "1500", True),
    ("-7", "-7", True),
    ("7", "-7", False),
    ("so it is 12", "12", True),
    ("first 3\nfinal 4", "4", True),
    ("first 3\nfinal 4", "3", False),  # a line without a key word does not count where another has one
    ("", "blue", False),
    ("yes", "e", False),  # a single letter needs a space beside it
    ("option e it is", "e", True),  # key words need a space behind them: the whole response counts
    ("option e is it", "e", False),  # only the tail after "is" counts
    ("e or f", "e", True),
    ("42%", "42", True),
    ("$42", "42", True),
    ("42nd", "42", False),
    ("result = 0.5", ".50", True),
]


@pytest.mark.parametrize(("response", "reference", "correct"), MMMU_OPEN)
def test_mmmu_open(response: str, reference: str, correct: bool) -> None:
    assert open_correct(parse_open(response), [reference]) is correct


def test_mmmu_open_accepts_any_of_several_references() -> None:
    assert score_mmmu("navy", ("blue", "navy"), ()) == (1.0, True)
    assert normalize_open("X") == [" x", "x "]


def test_an_unreadable_choice_is_unparsed_and_wrong_and_never_drawn() -> None:
    assert score_mmmu("no idea", ("A",), ANIMALS) == (0.0, False)
    assert all(score_mmmu("no idea", (letter,), ANIMALS)[0] == 0 for letter in "ABCD")


MMBENCH = [
    ("B", "B"),
    ("a cat", "B"),
    ("A cat", "A"),  # a bare letter comes before texts
    ("(C)", "C"),
    ("C).", "C"),
    ("C:", "C"),
    (":C", "C"),
    ("C,", "C"),
    ("b", None),
    ("The answer is B", "B"),
    ("The answer is B.", "B"),
    ("The answer is A", None),  # four words with an "A": maybe the article
    ("It is A", "A"),
    ("A. because a cat is B", "B"),
    ("A B", None),
    ("A and B.", "A"),
    ("E", "E"),  # upstream looks for five letters
    ("F", None),
    ("2", "C"),
    ("a small bird", "A"),
    ("a small bird and a cat", None),  # two texts
    ("none", None),
    ("", None),
    ("A DOG", "A"),
    ("[B]", None),
    ("**B**", None),
    ("B!", None),
    ("answer:B", None),
    ("it must be a dog, surely", "D"),
]


@pytest.mark.parametrize(("response", "letter"), MMBENCH)
def test_mmbench_choice(response: str, letter: str | None) -> None:
    assert infer_choice(response, dict(zip("ABCD", ANIMALS, strict=True))) == letter


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
