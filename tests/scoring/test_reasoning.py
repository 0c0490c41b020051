"""What a model thinks before it answers is not its answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vovnet.data import Sample
from vovnet.scoring import SCORERS, Score
from vovnet.scoring.reasoning import COMMON, KNOWN, Reasoning, final_answer

SAID = {"easy_vqa": "red", "mmbench": "B", "mmmu": "B", "plain": "B", "textvqa": "stop", "token_f1": "a red bus"}
SAID |= {"anls": "stop", "choice": "B", "exact": "stop", "number": "7"}
PLAIN = st.text(alphabet="ABCD red<>/[]think \n.", max_size=30).filter(
    lambda t: not any(m in t for p in KNOWN for m in p)
)


def sample(scorer: str) -> Sample:
    answer = SAID[scorer.split("/")[0]]
    return Sample("0", "?", (), (answer,) * 10, "g", "", ("cat", "dog", "cow", "hen") if answer == "B" else ())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B", "B"),
        ("<think>\nOption A? (C) is out.\n</think>\n\nB", "B"),
        ("Option A? (C) is out.\n</think>\n\nB", "B"),  # the prompt has opened it
        ("<think></think>B", "B"),
        ("<think>a</think><think>b</think> B", "B"),
        ("<think>a<think>b</think>c</think>B", "B"),
        ("B<think>why? A is wrong</think>", "B"),
        ("<think>A, or (C)", None),  # cut while it was thinking
        ("<think>a</think>B <think>or C", None),
        ("<think>a</think>\n ", None),
        ("a</think>", None),
        ("</think>", None),
        ("", ""),
        ("a thinking man <thinks> of A", "a thinking man <thinks> of A"),
        ("[THINK]A[/THINK]B", "[THINK]A[/THINK]B"),  # not this model's
    ],
)
def test_what_follows_the_reasoning_is_the_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize("name", sorted(SCORERS))
@pytest.mark.parametrize("markers", KNOWN)
@settings(max_examples=10)  # for each of more than a hundred pairs
@given(thought=PLAIN, opened=st.booleans())
def test_no_scorer_reads_the_reasoning(name: str, markers: tuple[str, str], thought: str, opened: bool) -> None:
    said = SAID[name.split("/")[0]]
    before = f"{'' if opened else markers[0]}{thought}(A) red stop{markers[1]}"
    reasoning = Reasoning((COMMON, markers), opened)
    assert SCORERS[name](reasoning.answer(f"{before}\n{said}", True), sample(name)) == Score(1.0, True)
    assert SCORERS[name](reasoning.answer(before, True), sample(name)) == Score(0.0, False)
    assert SCORERS[name](reasoning.answer(f"{markers[0]}{thought}{said}", True), sample(name)) == Score(0.0, False)
    if opened:
        assert SCORERS[name](reasoning.answer(f"{thought}{said}", False), sample(name)) == Score(0.0, False)


@given(st.lists(st.sampled_from(["<think>", "</think>", "A", " ", "\n", "B."]), max_size=12).map("".join))
def test_cutting_twice_cuts_no_more(text: str) -> None:
    answer = final_answer(text)
    if answer is not None:
        assert final_answer(answer) == answer
        assert not any(mark in answer for mark in COMMON)


def test_markers_are_those_that_the_tokenizer_or_the_template_knows() -> None:
    assert Reasoning.of((), "", "") == Reasoning((COMMON,), False)
    assert Reasoning.of(("◁think▷", "◁/think▷"), "", "").markers == (COMMON, ("◁think▷", "◁/think▷"))
    template = "{{ '<|channel|>analysis<|message|>' + thinking }}{{ '<|channel|>final<|message|>' + content }}"
    assert Reasoning.of(("<|channel|>", "<|message|>"), template, "").markers == (COMMON, KNOWN[-1])
    assert Reasoning.of(("[THINK]",), "", "").markers == (COMMON,)  # one marker is no pair


@pytest.mark.parametrize(
    ("prompt_end", "opened"),
    [
        ("<|im_end|>\n<|im_start|>assistant\n", False),
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),  # thinking is switched off
    ],
)
def test_a_prompt_may_end_inside_the_reasoning(prompt_end: str, opened: bool) -> None:
    assert Reasoning.of((), "", prompt_end).opened is opened


def test_reasoning_that_the_prompt_opens_must_be_closed_except_by_a_model_adapted_to_answer_directly() -> None:
    assert Reasoning(opened=True).answer("red", ended=True) is None
    adapted = Reasoning(opened=True, direct=True)
    assert adapted.answer("red", ended=True) == "red"
    assert adapted.answer("red", ended=False) is None
    assert Reasoning().answer("red", ended=False) == "red"


def test_pieces_of_markers_are_known() -> None:
    reasoning = Reasoning((COMMON, KNOWN[-1]))
    assert [reasoning.is_part(token) for token in ("<think>", "<|channel|>", "<|im_end|>", "")] == [
        True,
        True,
        False,
        False,
    ]
