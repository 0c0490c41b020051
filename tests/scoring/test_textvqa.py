"""TextVQA's normalisation and leave-one-out accuracy, case by case.

Expected values were worked out from the rules and agree with lmms-eval's own code.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vovnet.scoring.textvqa import CONTRACTIONS, normalize_answer, vqa_accuracy

NORMAL = [
    ("Stop", "stop"),
    ("  STOP  ", "stop"),
    ("the stop", "stop"),
    ("a an the", ""),
    ("The A team", "team"),
    ("one", "1"),
    ("ten", "10"),
    ("none", "0"),
    ("zero", "0"),
    ("eleven", "eleven"),
    ("Twenty one", "twenty 1"),
    ("dont", "don't"),
    ("don't", "don't"),
    ("couldnt've", "couldn't've"),
    ("couldn'tve", "couldn't've"),
    ("Im", "im"),  # the table's key has a capital, the text has lost it
    ("Ive", "ive"),
    ("somebody'd", "somebodyd"),  # upstream's table takes the apostrophe away here
    ("lets", "lets"),
    ("3,000", "3000"),
    ("3, 000", "3 000"),
    ("1,2,3", "123"),
    ("red, white", "red white"),
    ("what?", "what"),
    ("joe's", "joe 's"),
    ("'s", "'s"),
    ("hello.", "hello"),
    ("3.5", "3.5"),
    ("3.", "3"),
    (".5", ".5"),
    ("a.b", "ab"),
    ("U.S.A.", "usa"),
    ("v1.2.", "v1.2"),
    ("10:30", "10:30"),
    ("50%", "50%"),
    ("$5.00", "$5.00"),
    ("coca-cola", "coca cola"),
    ("coca - cola", "coca cola"),
    ("coca- cola", "coca cola"),
    ("well-known- x", "wellknown x"),  # one mark touches a space: every one of its kind is deleted
    ("and/or", "and or"),
    ("(c)", "c"),
    ("(c) 2012", "c 2012"),
    ("f(x)", "f x"),
    ("foo_bar", "foo bar"),
    ('"quoted"', "quoted"),
    ("[1]", "1"),
    ("x=1", "x 1"),
    ("a+b", "b"),  # the plus becomes a space, and the a an article
    ("c++", "c"),
    ("back\\slash", "back slash"),
    ("me@home.com", "me homecom"),
    ("wow!", "wow"),
    ("<b>", "b"),
    ("`tick`", "tick"),
    ("semi;colon", "semi colon"),
    ("line\nbreak", "line break"),
    ("tab\tstop", "tab stop"),
    ("  many   spaces ", "many spaces"),
    ("", ""),
    (".", ""),
    ("?", ""),
    ("." * 40, "." * 8),  # upstream removes at most 32 full stops
    ("it’s", "it’s"),
    ("Ärger", "ärger"),
    ("nokia", "nokia"),
    ("n.o.k.i.a", "nokia"),
    ("no. 5", "no 5"),
    ("no.5", "no.5"),
    ("seven-eleven", "7 eleven"),
    ("7-eleven", "7 eleven"),
    ("two three", "2 3"),
    ("whats", "what's"),
    ("yall", "y'all"),
    ("twas", "'twas"),
    ("oclock", "o'clock"),
    ("he'dve", "he'd've"),
    ("hed've", "he'd've"),
    ("hed", "he'd"),
    ("well", "well"),
    ("wont", "won't"),
    ("youre", "you're"),
    ("theyre the a", "they're"),
]


@pytest.mark.parametrize(("text", "expected"), NORMAL)
def test_normal_form(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("matches", "score"),
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (5, 1.0), (10, 1.0)],
)
def test_accuracy_by_number_of_agreeing_annotators(matches: int, score: float) -> None:
    answers = ("yes",) * matches + tuple(f"other{i}" for i in range(10 - matches))
    assert vqa_accuracy("Yes.", answers) == pytest.approx(score)


def test_references_are_normalised_too() -> None:
    assert vqa_accuracy("coca cola", ("Coca-Cola",) * 10) == 1.0
    assert vqa_accuracy("2", ("two", "2", "Two.", "2", "x", "x", "x", "x", "x", "x")) == pytest.approx(1.0)


@given(st.text(max_size=20), st.permutations(["a b", "b", "c", "b", "a b", "d", "b", "e", "f", "b"]))
def test_the_order_of_annotators_does_not_matter(prediction: str, answers: list[str]) -> None:
    assert vqa_accuracy(prediction, answers) == pytest.approx(vqa_accuracy(prediction, sorted(answers)))


def test_the_contraction_table_has_upstreams_rows() -> None:
    assert len(CONTRACTIONS) == 118  # upstream's 120 less two that map a word to itself
    assert all(key != value for key, value in CONTRACTIONS.items())
