"""Words and plain knowledge of the mini sets: what stands on signs, and what needs no image."""

from dataclasses import dataclass

SIGN_WORDS = tuple(
    """
    stop exit open sale taxi cafe bank park hotel pizza bread milk fish meat shop bus metro tram zoo
    north south east west left push pull free rent sold toys books shoes hats bikes cars fuel gas ice
    juice tea beer wine cake soup rice eggs salt corn beach pool lake river hill farm city town road
    fire slow fast
    """.split()
)

CLASSES = {
    "animal": tuple("dog cat horse cow sheep goat lion tiger bear wolf".split()),
    "fruit": tuple("apple pear plum peach lemon melon cherry banana".split()),
    "color": tuple("red green blue yellow purple orange".split()),
    "shape": tuple("circle square triangle star cross".split()),
    "tool": tuple("hammer saw drill wrench shovel knife".split()),
    "vehicle": tuple("car bus train boat plane truck".split()),
}

FACTS = (
    ("Which animal barks?", "dog", ("cat", "cow", "sheep", "lion", "goat")),
    ("Which animal gives milk and says moo?", "cow", ("dog", "cat", "wolf", "bear", "lion")),
    ("Which animal gives wool?", "sheep", ("dog", "cat", "tiger", "bear", "lion")),
    ("Which animal purrs?", "cat", ("cow", "goat", "horse", "wolf", "bear")),
    ("What color is a ripe banana?", "yellow", ("blue", "red", "purple", "green")),
    ("What color is grass?", "green", ("red", "blue", "purple", "orange")),
    ("What color is the clear sky at noon?", "blue", ("red", "green", "purple", "orange")),
    ("What color is blood?", "red", ("blue", "green", "yellow", "purple")),
    ("What color do red and blue paint make?", "purple", ("green", "yellow", "orange", "blue")),
    ("What color do red and yellow paint make?", "orange", ("green", "blue", "purple", "red")),
    ("Which tool drives nails?", "hammer", ("saw", "drill", "shovel", "knife")),
    ("Which tool cuts planks?", "saw", ("hammer", "wrench", "shovel", "drill")),
    ("Which tool digs holes?", "shovel", ("saw", "hammer", "knife", "wrench")),
    ("Which vehicle flies?", "plane", ("car", "bus", "boat", "train")),
    ("Which vehicle sails on water?", "boat", ("car", "bus", "plane", "truck")),
    ("Which vehicle runs on rails?", "train", ("car", "boat", "plane", "truck")),
    ("Which shape has three corners?", "triangle", ("circle", "square", "star", "cross")),
    ("Which shape has no corner?", "circle", ("square", "triangle", "star", "cross")),
    ("Which shape has four equal sides?", "square", ("circle", "triangle", "star", "cross")),
    ("Which fruit is sour and yellow?", "lemon", ("apple", "plum", "cherry", "melon")),
    ("How many legs has a horse?", "4", ("2", "3", "6", "8")),
    ("How many legs has a bird?", "2", ("3", "4", "6", "8")),
    ("How many days has a week?", "7", ("5", "6", "8", "9")),
    ("How many corners has a square?", "4", ("3", "5", "6", "8")),
)

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Sum:
    """An arithmetic question in words with a one-digit result."""

    text: str
    result: int


SUMS = tuple(
    [Sum(f"What is {NUMBER_WORDS[a]} plus {NUMBER_WORDS[b]}?", a + b) for a in range(1, 9) for b in range(1, 10 - a)]
    + [Sum(f"What is {NUMBER_WORDS[a]} minus {NUMBER_WORDS[b]}?", a - b) for a in range(2, 10) for b in range(1, a)]
)
