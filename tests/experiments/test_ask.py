"""One question from the command line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.ask import Asked, asked_of, split_arguments
from tests.commands import command, last_line
from vovnet.data.sample import AskedImage
from vovnet.errors import VoVNetError

TEXT = st.text(min_size=1).filter(str.strip)


@given(st.lists(TEXT, min_size=1), TEXT, st.lists(st.text(), min_size=2), st.lists(st.sampled_from(["-m", "a.b=1"])))
def test_what_is_typed_is_taken_literally(
    images: list[str], question: str, options: list[str], rest: list[str]
) -> None:
    typed = [f"image={one}" for one in images] + [f"question={question}"] + [f"options={one}" for one in options]
    literal, others = split_arguments([*rest, *typed])
    assert asked_of(literal) == Asked(tuple(images), question, tuple(options))
    assert others == rest


@pytest.mark.parametrize(
    ("text", "options"),
    [("a cat,a dog", ("a cat", "a dog")), ('red, "blue, dark", x=1', ("red", "blue, dark", "x=1"))],
)
def test_one_list_of_options_is_split_at_commas(text: str, options: tuple[str, ...]) -> None:
    literal, _ = split_arguments(["image=a", "question=b", f"options={text}"])
    assert asked_of(literal).options == options


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["question=b"], "give an image and one question"),
        (["image=a", "question= "], "give an image and one question"),
        (["image=a", "question=b", "options=x"], "is one option only"),
    ],
)
def test_an_incomplete_question_is_refused(arguments: list[str], said: str) -> None:
    literal, _ = split_arguments(arguments)
    with pytest.raises(VoVNetError, match=said):
        asked_of(literal)


def test_a_cascade_shows_that_it_looked_twice(easy_data: Path, tmp_path: Path) -> None:
    image = tmp_path / "a, b='c'.png"
    image.write_bytes((easy_data / "test/images/0.png").read_bytes())
    arguments = ["policy/baseline=cascade", "policy.baseline.threshold=1", f"paths.runs={tmp_path / 'runs'}"]
    asked = command("ask", f"image={image}", 'question=what [color] is it, "a" or b=c?', *arguments, cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert 'what [color] is it, "a" or b=c?' in asked.stdout
    looks = {line.split()[1]: line for line in asked.stdout.splitlines() if line.startswith("\u2502")}
    assert "taken" in looks["COARSE"]
    assert "value" not in asked.stdout
    assert "chosen" in looks["FULL"]
    assert "68 vision tokens, the closest look" in " ".join(asked.stdout.split())


def test_a_missing_image_is_one_sentence(tmp_path: Path) -> None:
    arguments = ["policy/baseline=always_full", f"paths.runs={tmp_path / 'runs'}"]
    asked = command("ask", "image=nowhere.png", "question=what?", *arguments, cwd=tmp_path)
    assert asked.returncode == 1
    assert last_line(asked).startswith("error: image nowhere.png cannot be read")


def test_a_missing_image_is_named_with_what_helps(tmp_path: Path) -> None:
    with pytest.raises(VoVNetError, match=r"^image .*cat.jpg cannot be read .*; give the path of another image\.$"):
        AskedImage("cat.jpg", tmp_path / "cat.jpg").load()
