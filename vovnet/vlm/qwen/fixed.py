"""Passes of one shape, so that no number of a question depends on the questions beside it.

A GPU's libraries choose their kernels by the shape of a batch, and another kernel sums in another order; torch has no
matrix product whose result does not depend on it. Here a question alone decides on the shape in which it is read:
text passes and decoding have a fixed number of rows, copies where questions are missing, and as many columns as the
question's own length asks for; images and prompts with images are read one by one.
"""

from collections import defaultdict
from collections.abc import Sequence as Rows
from dataclasses import replace

from torch import nn

from vovnet.vlm.qwen.forward import Prefill, cache_of_parts

ROWS = 32  # of a text pass and of a decoding step
COLUMNS = 64  # prompts are padded to a multiple


def width(tokens: int) -> int:
    """Columns of a prompt, one more than its tokens at least: where nothing is padded, attention has another kernel."""
    return (tokens // COLUMNS + 1) * COLUMNS


def groups(lengths: Rows[int]) -> list[tuple[int, list[int]]]:
    """Prompts of ``lengths`` tokens that are read together: their columns, and at most ``ROWS`` of their places."""
    alike: dict[int, list[int]] = defaultdict(list)
    for place, tokens in enumerate(lengths):
        alike[width(tokens)].append(place)
    return [
        (columns, places[start : start + ROWS])
        for columns, places in sorted(alike.items())
        for start in range(0, len(places), ROWS)
    ]


def filled(places: list[int]) -> list[int]:
    """As many places as a pass has rows; the first fills it up."""
    return [*places, *places[:1] * (ROWS - len(places))]


def spans(prefill: Prefill) -> list[int]:
    """Columns of each row from its first token on."""
    first: list[int] = prefill.mask.argmax(dim=1).tolist()
    return [prefill.mask.shape[1] - column for column in first]


def last_columns(prefill: Prefill, columns: int) -> Prefill:
    """The last columns of every row; empty ones come before them where there are fewer."""
    more = columns - prefill.mask.shape[1]  # ``pad`` cuts where it is negative
    held = (
        (nn.functional.pad(layer.keys, (0, 0, more, 0)), nn.functional.pad(layer.values, (0, 0, more, 0)))
        for layer in prefill.cache.layers
    )
    return replace(prefill, cache=cache_of_parts(held), mask=nn.functional.pad(prefill.mask, (more, 0)))


def one_by_one(prefill: Prefill) -> list[Prefill]:
    """Each row without padding, whatever is beside it."""
    alone = prefill.split([[row] for row in range(len(prefill.mask))])
    return [last_columns(one, columns) for one, columns in zip(alone, spans(prefill), strict=True)]
