"""The rows of one look of an import, and the tables of the store that they become."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.convert import arrow, column, matrix, scores_table
from vovnet.outcomes.judge import make_judge
from vovnet.outcomes.keys import Imported, imported_key, nll_key, scores_key, state_key
from vovnet.outcomes.rows import Scores, scores_of
from vovnet.outcomes.store import TEXT, OutcomeStore, Table
from vovnet.outcomes.tables import JUDGED
from vovnet.scoring.reasoning import KNOWN, final_answer

PART = 1 << 26  # bytes of hidden states in one part
BLOCK = 65_536  # rows in one part, at most
# Columns of a look's table, and what they are called in files.
MEASURED = {name: name for name in ("prompt_tokens", "reused_tokens", "patches", "generated_tokens", "seconds")}
MEASURED["confidence"] = "answer_probability"


@dataclass(frozen=True)
class Taken:
    """The rows of one look, in the order of the questions.

    Attributes:
        table: the columns that are given for it, [N].
        content: hash of all of them, hidden states included.
    """

    look: str
    table: pa.Table
    content: str
    features: np.ndarray | None

    def column(self, name: str) -> np.ndarray | None:
        """One of them, None where it is not given."""
        return column(self.table[name]) if name in self.table.column_names else None


def in_parts(rows: np.ndarray, features: np.ndarray | None) -> list[tuple[int, np.ndarray]]:
    """Rows in parts of bounded size, each with its first place."""
    width = 0 if features is None else features.shape[1] * features.dtype.itemsize
    size = max(1, min(BLOCK, PART // max(1, width)))
    return [(first, rows[first : first + size]) for first in range(0, len(rows), size)]


def write_look(store: OutcomeStore, found: Imported, dataset: VQADataset, one: Taken) -> None:
    """The tables of a look; of NO that of the text pass as well. Parts that are there already stay."""
    table = store.table(imported_key(found, dataset, one.look))
    note, size = {"engine": found.engine}, len(one.table)
    answers = _answers(one)
    nll, scores = table.inner(nll_key(table.key)), table.inner(scores_key(table.key, dataset))
    judge = make_judge(dataset) if found.record["scores"] == "own" else None
    for start in range(0, size, BLOCK):
        block = answers.slice(start, BLOCK)
        stop = start + len(block)
        if table.missing((start, stop)):
            table.write(start, block, note)
        if scores.missing((start, stop)):
            said = block["answer"].to_pylist()
            judged = (
                _given(one, start, stop)
                if judge is None
                else scores_of([judge(n, a) for n, a in enumerate(said, start)])
            )
            scores.write(
                start, scores_table(judged).append_column(JUDGED, arrow(table.rows(stop, start).checksums)), {}
            )
        if "nll" in one.table.column_names and nll.missing((start, stop)):
            nll.write(start, pa.table({"nll": one.table["nll"].slice(start, BLOCK)}), {})
    beside = (
        store.table(imported_key(found, dataset, TEXT))
        if one.look == Action.NO.label
        else table.inner(state_key(table.key))
    )
    _write_read(beside, one, note)


def _write_read(table: Table, one: Taken, note: Mapping[str, Any]) -> None:
    """What the prompt yields at its last token: hidden states, entropy and margin, as far as they are given."""
    names = ("entropy", "margin", *(("text_tokens",) if one.look == Action.NO.label else ()))
    if one.look != Action.NO.label and not {*names, "features_row"} & {*one.table.column_names}:
        return
    for start, chosen in in_parts(np.arange(len(one.table)), one.features):
        stop = start + len(chosen)
        if not table.missing((start, stop)):
            continue
        columns = {name: _or_nan(one, name, start, stop) for name in names}
        if one.features is not None:
            rows = column(one.table["features_row"].slice(start, len(chosen)))
            columns["hidden"] = matrix(np.asarray(one.features[rows]))
        table.write(start, pa.table(columns), note)


def _answers(one: Taken) -> pa.Table:
    """The table of a look's answers; NaN where nothing is known."""
    size = len(one.table)
    if "answer" not in one.table.column_names:
        said = [final_answer(text, KNOWN) for text in one.table["prediction"].to_pylist()]
        answers = pa.array(said, pa.string())
    else:
        answers = one.table["answer"].combine_chunks()
    columns = {"prediction": one.table["prediction"], "answer": answers, "vision_tokens": one.table["vision_tokens"]}
    return pa.table(columns | {own: _or_nan(one, name, 0, size) for own, name in MEASURED.items()})


def _or_nan(one: Taken, name: str, start: int, stop: int) -> Any:
    if name in one.table.column_names:
        return one.table[name].slice(start, stop - start)
    return pa.array(np.full(stop - start, np.nan, dtype=np.float32))


def _given(one: Taken, start: int, stop: int) -> Scores:
    """The rows' own scores; an answer without a column of its own counts as read."""
    score, parsed, refused = (one.column(name) for name in ("score", "parsed", "refused"))
    if score is None:
        raise VoVNetError(f"the rows of the look {one.look} have no score, which others have; fill it in, or drop it.")
    size = len(score)
    parsed = np.ones(size, dtype=bool) if parsed is None else parsed
    refused = np.zeros(size, dtype=bool) if refused is None else refused
    return Scores(score=score[start:stop], parsed=parsed[start:stop], refused=refused[start:stop])
