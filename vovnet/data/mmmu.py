"""MMMU: 30 subjects, multiple choice and open, up to seven images; the hub's parquet.

Schema: ``MMMU/MMMU`` on the hub; ``options`` is a stringified list, and ``<image k>`` stands for an image in
the question and in the options.
"""

import ast
import io
import itertools
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vovnet.data.rows import RowErrors
from vovnet.data.sample import Sample
from vovnet.data.tables import Row, cell_text, option_problem, text_problem

# The six disciplines of Yue et al. (2024), table 1, under which the official evaluator reports.
DOMAINS = {
    "Art and Design": "Art Art_Theory Design Music",
    "Business": "Accounting Economics Finance Manage Marketing",
    "Science": "Biology Chemistry Geography Math Physics",
    "Health and Medicine": "Basic_Medical_Science Clinical_Medicine Diagnostics_and_Laboratory_Medicine Pharmacy "
    "Public_Health",
    "Humanities and Social Science": "History Literature Psychology Sociology",
    "Tech and Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics Energy_and_Power "
    "Materials Mechanical_Engineering",
}
NO_COMMA = re.compile(r"""['"]\s*['"]""")  # or an empty text
DOMAIN_OF = {subject: domain for domain, subjects in DOMAINS.items() for subject in subjects.split()}


def read_mmmu(path: Path, rows: Iterator[Row], errors: RowErrors, interleave: bool = False) -> Iterator[Sample]:
    """Samples in file order.

    Args:
        interleave: images stand at their marks, in the order of these; or together, in the order of their numbers.
    """
    for row in rows:
        listed = _listed(row.fields.get("options"))
        options = tuple(listed or ())
        choice = row.fields.get("question_type") == "multiple-choice"
        answers = _references(row.fields.get("answer"))
        shown = " ".join([cell_text(row.fields.get("question")), *options])
        marks: dict[int, str] = {}
        for mark, k in re.findall(r"(<image ([0-9]{1,3})>)", shown):
            marks.setdefault(int(k), mark)
        images = list(marks) if interleave else sorted(marks)
        problem = row.problem or _problem(row, choice, options, answers, images)
        if listed is None:
            problem = f"options {str(row.fields['options'])[:60]!r} are no list of texts"
        if problem:
            errors.report(path, row.number, problem)
            continue
        name = cell_text(row.fields["id"])
        if not errors.is_new(path, row.number, name):
            continue
        subject = re.fullmatch(r"[^_]+_(.+)_\d+", name)
        yield Sample(
            id=name,
            question=cell_text(row.fields["question"]),
            images=tuple(row.images[f"image_{k}"] for k in images),
            answers=answers,
            group=name,
            category=subject[1] if subject else path.parent.name,
            options=options if choice else (),
            supercategory=DOMAIN_OF.get(subject[1], "") if subject else "",
            marks=tuple(marks[k] for k in images) if interleave else (),
        )


def _problem(row: Row, choice: bool, options: tuple[str, ...], answers: tuple[str, ...], images: list[int]) -> str:
    letters = [chr(ord("A") + place) for place in range(len(options))]
    absent = [k for k in images if f"image_{k}" not in row.images]
    if problem := text_problem(row, ("id", "question")) or (option_problem(options) if choice else ""):
        return problem
    kind = cell_text(row.fields.get("question_type"))
    if kind not in ("multiple-choice", "open"):
        return f"question_type {kind!r} is neither multiple-choice nor open"
    if not answers or (choice and answers[0] not in letters):
        return f"answer {row.fields.get('answer')!r} is none of its options" if choice else "there is no answer"
    if absent:
        return f"image {absent[0]} is not there"
    return "" if images else "it shows no image"


def _listed(value: Any) -> list[str] | None:
    """A list of texts, also one that is written as Python would print it; None where it is something else."""
    if isinstance(value, str):
        if _lacks_comma(value):
            return None
        try:
            value = ast.literal_eval(value.strip() or "[]")  # constants only: it runs nothing
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None
    if value is None:
        return []
    if not isinstance(value, list | tuple) or any(isinstance(item, list | tuple | dict | set) for item in value):
        return None
    return [cell_text(item) for item in value]


def _lacks_comma(text: str) -> bool:
    """Whether two texts stand side by side, as NumPy prints them; Python would make one text of them."""
    if not NO_COMMA.search(text):
        return False
    try:
        kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline)]
    except (tokenize.TokenError, SyntaxError):
        return False  # no list at all
    kinds = [kind for kind in kinds if kind not in (tokenize.NL, tokenize.COMMENT)]
    return (tokenize.STRING, tokenize.STRING) in itertools.pairwise(kinds)


def _references(answer: Any) -> tuple[str, ...]:
    """One answer, or several as a stringified list; one that merely begins with a bracket is a text."""
    text = cell_text(answer)
    several = _listed(answer) if isinstance(answer, list) or text.startswith("[") else None
    if several is not None:
        return tuple(item for item in several if item)
    return (text,) if text else ()
