"""Which scenes and questions each mini set is made of, and the questions that the text alone answers."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vovnet.data.mini import scenes
from vovnet.data.mini.scenes import Question, Scene
from vovnet.data.mini.words import CLASSES, FACTS, SUMS


def fact(rng: np.random.Generator) -> Question:
    """General knowledge."""
    text, answer, others = FACTS[rng.integers(len(FACTS))]
    return Question(text, answer, others, "knowledge", "text")


def arithmetic(rng: np.random.Generator) -> Question:
    """A sum or difference in words."""
    task = SUMS[rng.integers(len(SUMS))]
    others = tuple(str(n) for n in range(1, 10) if n != task.result)
    return Question(task.text, str(task.result), others, "arithmetic", "text")


def odd_one_in(rng: np.random.Generator) -> Question:
    """The options give it away: only one is of the class that is asked for."""
    names = list(CLASSES)
    name, *rest = (names[i] for i in rng.permutation(len(names)))
    members = CLASSES[name]
    others = tuple(CLASSES[other][rng.integers(len(CLASSES[other]))] for other in rest)
    article = "an" if name[0] in "aeiou" else "a"
    answer = members[rng.integers(len(members))]
    return Question(f"Which of these is {article} {name}?", answer, others, "options", "text")


def told(rng: np.random.Generator) -> Question:
    """The hint says it."""
    name = list(CLASSES)[rng.integers(len(CLASSES))]
    order = rng.permutation(len(CLASSES[name]))
    answer, *others = (CLASSES[name][i] for i in order)
    return Question(
        f"Which {name} does the note name?", answer, tuple(others), "hint", "text", hint=f"The note says {answer}."
    )


FAMILIES = (fact, arithmetic, odd_one_in, told)


MakeScene = Callable[[np.random.Generator], Scene]
OPTIONS = 4  # at most, where a question has so many wrong answers


@dataclass(frozen=True)
class Asked:
    """A question as it is written into a file.

    Attributes:
        options: in the order of their letters; empty for an open question.
    """

    question: Question
    options: tuple[str, ...] = ()

    @property
    def letter(self) -> str:
        """The right letter."""
        return chr(ord("A") + self.options.index(self.question.answer))


@dataclass(frozen=True)
class Recipe:
    """A set's scenes with their weights, and how many questions the text alone answers.

    Attributes:
        per_image: questions about one image.
        text_share: chance that a question is one of plain knowledge.
    """

    scenes: Mapping[MakeScene, float]
    per_image: int
    text_share: float


RECIPES = {
    "mini_mmbench": Recipe(
        {
            scenes.objects: 0.36, scenes.balls: 0.12, scenes.sign: 0.06, scenes.digit: 0.12,
            scenes.lone_object: 0.12, scenes.dots: 0.10, scenes.chart: 0.12,
        },
        per_image=2,
        text_share=0.25,
    ),
    "mini_textvqa": Recipe(
        {scenes.sign: 0.70, scenes.digit: 0.18, scenes.lone_object: 0.06, scenes.objects: 0.06},
        per_image=2,
        text_share=0.0,
    ),
}  # fmt: skip

# MMMU's own subjects, each with what its questions are about.
SUBJECTS: dict[str, Recipe] = {
    "Accounting": Recipe({scenes.chart: 1.0}, 1, 0.15),
    "Art": Recipe({scenes.objects: 0.6, scenes.lone_object: 0.4}, 1, 0.25),
    "Biology": Recipe({scenes.dots: 0.7, scenes.balls: 0.3}, 1, 0.4),
    "Computer_Science": Recipe({scenes.digit: 0.8, scenes.sign: 0.2}, 1, 0.25),
    "Geography": Recipe({scenes.sign: 0.6, scenes.objects: 0.4}, 1, 0.2),
    "Math": Recipe({scenes.dots: 0.4, scenes.chart: 0.4, scenes.balls: 0.2}, 1, 0.4),
}
PAIR_SHARE = 0.1  # of MMMU's questions are about two images
OPEN_FAMILIES = ("many", "digit", "number", "word")  # asked without options in half of MMMU's questions


def draw_scene(recipe: Recipe, rng: np.random.Generator) -> Scene:
    """A scene of a set."""
    makers, weights = list(recipe.scenes), np.array(list(recipe.scenes.values()))
    return makers[int(rng.choice(len(makers), p=weights / weights.sum()))](rng)


def draw_questions(recipe: Recipe, scene: Scene, rng: np.random.Generator, hints: bool) -> list[Question]:
    """Different questions about a scene, or of plain knowledge; ``hints`` where the set has such a field."""
    order = [scene.questions[i] for i in rng.permutation(len(scene.questions))]
    drawn: list[Question] = []
    families = FAMILIES if hints else FAMILIES[:-1]
    for _ in range(recipe.per_image):
        if rng.random() < recipe.text_share:
            drawn.append(families[rng.integers(len(families))](rng))
        elif order:
            drawn.append(order.pop())
    return drawn or order[:1]


def with_options(question: Question, rng: np.random.Generator) -> Asked:
    """The answer among shuffled wrong ones."""
    wrong = [question.others[i] for i in rng.permutation(len(question.others))[: OPTIONS - 1]]
    options = [question.answer, *wrong]
    return Asked(question, tuple(options[i] for i in rng.permutation(len(options))))


def pair(rng: np.random.Generator) -> tuple[list[Scene], Asked]:
    """Two images, one of which shows what is asked for."""
    first, second = scenes.lone_object(rng), scenes.lone_object(rng)
    while first.questions[0].answer == second.questions[0].answer:
        second = scenes.lone_object(rng)
    color = (first, second)[chosen := int(rng.integers(2))].questions[0].answer
    options = ("<image 1>", "<image 2>")
    question = Question(f"Which image shows a {color} object?", options[chosen], options, "pair", "either")
    return [first, second], Asked(question, options)


def jpeg(scene: Scene) -> bytes:
    """A scene's image as a camera would store it."""
    buffer = io.BytesIO()
    scene.image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
