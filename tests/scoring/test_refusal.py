"""Refusals are counted, whatever a benchmark's rule makes of them, and no policy learns that they are right."""

import pytest

from vovnet.data import Sample
from vovnet.scoring import SCORERS, Score
from vovnet.scoring.reasoning import final_answer
from vovnet.scoring.refusal import is_refusal


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot see the image.",
        "I can't see any images.",
        "I can\u2019t view the picture you mention, please upload it.",
        "I'm sorry, but I can't assist with that.",
        "Sorry, I cannot answer this without the image.",
        "I am unable to view images.",
        "I'm unable to directly see or analyze the picture.",
        "I don't have access to the image.",
        "I do not see an image attached.",
        "No image was provided.",
        "There is no picture attached to your question, so I can't tell.",
        "The image is not provided.",
        "The image has not been included.",
        "The picture is missing.",
        "It cannot be answered without seeing the image.",
        "There is no image.",
        "There is no picture to look at.",
        "No visible image.",
        "Nothing is shown, no photo.",
        "I do not have the ability to view images.",
        "I have no access to the image.",
        "I don't have visual capabilities.",
        "I cannot view or analyze the content.",
        "You haven't provided an image.",
        "You did not upload a picture.",
        "Please provide the image.",
        "I am a text-based AI.",
        "Unable to determine",
        "As an AI language model, images are out of reach for me.",
        "As a text-based model I work with words.",
        "I cannot determine what it shows.",
        "Unfortunately, I cannot process images",
        "我无法看到图片。",
        "很抱歉，没有提供图片",
    ],
)
def test_an_answer_that_declines_is_a_refusal(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "", "B", "no", "No.", "red", "yes", "none", "a picture", "no image", "unanswerable", "not visible",
        "No dog is in the image", "I do not see a dog in the image.", "I cannot see any dog in the picture.",
        "The image shows no cat.", "There is no picture of it on the wall",
        "a man unable to see", "There is no image of a cat", "The picture is not clear", "as an adult",
        "I cannot see the image, but the answer is B.", "I can't see the image; my guess is red.",
        "I'm sorry, but I can't view it well. It is probably a bus.", "B. I cannot see the image.",
        "(A) because no image was provided", "the sign says sorry we are closed", "without a hat", "无",
    ],
)  # fmt: skip
def test_an_answer_however_short_or_hedged_is_none(answer: str) -> None:
    assert not is_refusal(answer)


@pytest.mark.parametrize("rule", ["lmms_eval", "strict"])
def test_a_refusal_keeps_the_benchmarks_score_and_teaches_nothing(rule: str) -> None:
    score = SCORERS[f"mmbench/{rule}"]("I cannot see the image.", Sample("0", "?", (), ("B",), "g", "", ("yes", "no")))
    assert score == Score(1.0, True, refused=True)  # "no" is in "cannot"
    assert score.target == 0.0
    assert Score(1.0, True).target == 1.0


def test_what_the_question_offers_is_an_answer() -> None:
    options = ("red", "It cannot be told without the image")
    one = Sample("0", "?", (), ("B",), "g", "", options)
    assert SCORERS["mmbench/lmms_eval"]("It cannot be told without the image.", one) == Score(1.0, True)
    open_one = Sample("0", "?", (), ("No image is shown",), "g", "")
    assert not SCORERS["plain"]("no image is shown", open_one).refused


def test_a_refusal_inside_the_reasoning_is_none() -> None:
    one = Sample("0", "?", (), ("red",), "g", "")
    assert not SCORERS["easy_vqa"](final_answer("<think>I cannot see the image. Hm.</think>red"), one).refused
