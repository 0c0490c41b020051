"""Columns become what pyarrow itself would make of them."""

import numpy as np
import pyarrow as pa
import pytest

from vovnet.outcomes.convert import arrow


@pytest.mark.parametrize(
    "column",
    [
        np.array(["a", "東 ä", ""]),
        np.array(["a", None, "ä"], dtype=object),
        np.array([], dtype=object),
        np.array([True, False, True] * 5),
        np.array([1.5, np.nan], dtype=np.float32),
        np.arange(6, dtype=np.int32)[::2],
        np.array([2**32 - 1], dtype=np.uint32),
    ],
)
def test_a_column_is_that_of_pyarrow(column: np.ndarray) -> None:
    made = arrow(column)
    made.validate(full=True)
    assert str(made.to_pylist()) == str(pa.array(column).to_pylist())
