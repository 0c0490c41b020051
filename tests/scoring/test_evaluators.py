"""MMBench's letters as the public evaluators read them; ``adversarial`` says where the expected letters come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scoring.adversarial import COUNT, answers, digest, recorded
from vovnet.data import Sample
from vovnet.scoring import SCORERS
from vovnet.scoring.choices import RULES, lettered, score_mmbench

PETS = ("cat", "dog", "cow", "hen")


@pytest.mark.parametrize("rule", ["lmms_eval", "vlmevalkit"])
def test_a_rule_reads_what_its_evaluator_reads_in_20000_adversarial_answers(rule: str) -> None:
    drawn, letters = recorded()
    pairs = answers()
    assert digest(pairs) == drawn  # otherwise the letters belong to other answers
    assert len(letters[rule]) == len(pairs) == COUNT
    expected = [None if letter in "-Z" else letter for letter in letters[rule]]
    found = [RULES[rule](answer, lettered(options)) for options, answer in pairs]
    differ = [(pair, own, theirs) for pair, own, theirs in zip(pairs, found, expected, strict=True) if own != theirs]
    assert not differ


def test_the_adversarial_answers_tell_the_rules_apart() -> None:
    pairs = answers(4_000)
    read = {rule: [RULES[rule](answer, lettered(options)) for options, answer in pairs] for rule in RULES}
    assert len({tuple(letters) for letters in read.values()}) == 3
    assert all({*"ABCD", None} <= set(letters) for letters in read.values())


@pytest.mark.parametrize(
    ("answer", "lmms_eval", "vlmevalkit", "strict"),
    [
        ("B", "B", "B", "B"),
        ("**B**", "B", "B", None),
        ("\\boxed{B}", "B", "B", None),
        ("[A]", "A", "A", None),
        ('"B."', "B", None, None),
        ("`B`", "B", None, None),
        ("B!", "B", "B", None),
        ("The correct answer is **B**. Here is why", "B", "B", None),
        ("the answer is clear", None, "C", None),  # VLMEvalKit's pattern takes the c of "clear"
        ("A sign", "A", "A", "A"),  # of so few words the article is a letter
        ("A B", "A", None, None),
        ("B it is, as the long sentence says", "B", None, "B"),  # the letter is not among the last five words
        ("Cannot determine the answer", "C", None, None),
        ("Z", None, None, None),
        ("", None, None, None),
    ],
)
def test_the_rules_differ_where_the_evaluators_do(
    answer: str, lmms_eval: str | None, vlmevalkit: str | None, strict: str | None
) -> None:
    options = lettered(("picture", "sign", "house", "tree"))
    expected = {"lmms_eval": lmms_eval, "vlmevalkit": vlmevalkit, "strict": strict}
    assert {rule: RULES[rule](answer, options) for rule in RULES} == expected


def test_lmms_evals_static_mode_is_the_default() -> None:
    assert score_mmbench("**B**", ("B",), PETS) == (1.0, True)
    assert SCORERS["mmbench/strict"]("**B**", Sample("0", "?", (), ("B",), "g", "", PETS)).parsed is False


@given(st.text(max_size=40), st.lists(st.text(max_size=8), min_size=1, max_size=6), st.sampled_from(sorted(RULES)))
def test_a_rule_reads_an_offered_letter_or_none(answer: str, options: list[str], rule: str) -> None:
    letter = RULES[rule](answer, lettered(options))
    assert letter is None or letter in {*lettered(options), *("ABCDE" if rule != "vlmevalkit" else "")}


@given(st.permutations(["circle", "square", "hexagon", "star"]), st.sampled_from(sorted(RULES)), st.sampled_from("BCD"))
def test_a_named_letter_counts_whatever_the_options_say(options: list[str], rule: str, letter: str) -> None:
    assert RULES[rule](f"The answer is {letter}", lettered(options)) == letter
    assert RULES[rule](options["ABCD".index(letter)], lettered(options)) == letter
