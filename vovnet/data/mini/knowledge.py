"""Questions that the text alone answers, whatever the image shows."""

import numpy as np

from vovnet.data.mini.scenes import Question
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
