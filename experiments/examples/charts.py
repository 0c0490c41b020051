"""A data set of one's own, questions about charts in a CSV file, and its scorer."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vovnet


def read(config: Any, split: str) -> Iterator[vovnet.Sample]:
    """The rows of SPLIT.csv in ``dataset.path``: image, question, answer."""
    folder = Path(config.path)
    with (folder / f"{split}.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            yield vovnet.Sample(
                id=str(number),
                question=row["question"],
                images=(vovnet.ImageRef(key=row["image"], path=folder / row["image"]),),
                answers=(row["answer"],),
                group=row["image"],  # questions about one image are resampled together
                category="number" if number_of(row["answer"]) is not None else "text",
            )


def relaxed(answer: str, answers: tuple[str, ...], options: tuple[str, ...], tolerance: float) -> tuple[float, bool]:
    """ChartQA's relaxed accuracy (Masry et al., 2022): numbers within a tolerance, other answers word for word."""
    said, right = number_of(answer), number_of(answers[0])
    if said is not None and right is not None:
        return float(abs(said - right) <= tolerance * abs(right)), True
    return float(answer.strip().lower() == answers[0].strip().lower()), bool(answer.strip())


def number_of(text: str) -> float | None:
    """The number that a text is."""
    try:
        return float(text.strip().rstrip("%"))
    except ValueError:
        return None
