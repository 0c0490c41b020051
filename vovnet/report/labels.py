"""How people see rows and columns: in tables on the terminal, in reports and in figures."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vovnet.registry import POLICIES
from vovnet.results.columns import ASKED, CURVE, DESCRIBED, OWN_RATE, RATES, ResultRow


def setting(row: ResultRow) -> str:
    """A row's settings, for people: those that do not go without saying."""
    if row.policy and row.baseline_name not in POLICIES:  # of the user's own code, which knows best
        return row.policy
    parts = [row.baseline_name or "VoVNet"]
    for name in (*(name for name in ASKED if name != "extra"), "objective", "procedure", "action_space"):
        value, column = getattr(row, name), DESCRIBED[name]
        if value not in (None, column.usual):
            parts.append(f"{column.label}={short(value)}" if column.label else short(value))
    parts += [f"{name}={short(value)}" for name, value in row.extra]
    if row.trained_on not in (None, row.dataset):
        parts.append(f"trained on {row.trained_on}")
    if row.baseline_name == "random_policy_matched":
        parts.append(f"seed={row.seed}")
    return " ".join(parts)


def usual_settings(rows: Sequence[ResultRow]) -> dict[str, object]:
    """What most rows are set to, by column; without a column whose first values tie, and empty without rows."""
    found: dict[str, object] = {}
    for name in CURVE if rows else ():
        (value, most), *others = Counter(getattr(row, name) for row in rows).most_common(2)
        if not others or others[0][1] < most:
            found[name] = value
    return found


def baseline_label(row: ResultRow) -> str:
    """A baseline's curve: its name and what is no point on the curve."""
    texts = [name for name in ASKED if str in DESCRIBED[name].kinds]
    parts = [row.baseline_name, *(getattr(row, name) for name in texts)]
    parts += [f"{name}={value}" for name, value in row.extra if isinstance(value, str)]
    if row.baseline_name != "vision_token_pruning_proxy" and row.pruning_ratio is not None:
        parts.append(f"keep={row.pruning_ratio:g}")  # a setting of FULL, and not what its curve runs over
    return " ".join(part for part in parts if part)


def vovnet_label(row: ResultRow, usual: Mapping[str, object]) -> str:
    """VoVNet, with the settings in which this row is not as most are; where none is most, only those that are set."""
    unusual = [
        name
        for name in CURVE
        if (getattr(row, name) != usual[name] if name in usual else getattr(row, name) not in (None, ()))
    ]
    shown = {name: f"{name}={short(getattr(row, name))}" for name in unusual if name not in ("checkpoint", "extra")}
    shown |= {name: f"{name}={short(value)}" for name, value in row.extra if "extra" in unusual}
    if len(shown) > 1:  # a name for what differs, and what differs has names of its own
        shown.pop("training", None)
    return ", ".join(["VoVNet", *shown.values()])


def point_label(curve: str, row: ResultRow) -> str:
    """A point of the curve of this name, for people."""
    return setting(row) if row.baseline_name else f"{curve}, \u03bb = {row.lambda_cost:g}"


def seeded_label(row: ResultRow) -> str:
    """A setting, and the seed of a policy's training, which tells equal settings of a comparison apart."""
    return setting(row) if row.baseline_name else f"{setting(row)} seed={row.seed}"


def short(value: object) -> str:
    """A value for people."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else str(value).lower()


# What figures and LaTeX call what results call otherwise.
NAMES = {
    "always_full": "always FULL", "always_coarse": "always COARSE", "no_vision": "no image", "always_look": "look",
    "uncertainty_threshold": "threshold", "vision_token_pruning_proxy": "pruned FULL",
    "resolution_scaling": "scaled FULL", "random_policy_matched": "random", "cheapest_correct": "cheapest",
    "procedure=sequential": "sequential",
    "procedure=one_step": "one look", "mmbench": "MMBench", "mini_mmbench": "mini MMBench", "mmmu": "MMMU",
    "mini_mmmu": "mini MMMU", "textvqa": "TextVQA", "mini_textvqa": "mini TextVQA", "easy_vqa": "easy-VQA",
}  # fmt: skip
NAMED = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(NAMES, key=len, reverse=True)))})(?!\w)|/test\b")


def display(text: str) -> str:
    """A label as figures and papers show it; the test split goes without saying."""
    return NAMED.sub(lambda found: NAMES.get(found[0], ""), text)


T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A column of a view.

    Attributes:
        digits: after the point; None for texts, which are set to the left.
        best: whether its best value, "high" or "low", is set in bold.
        style: colour on the terminal.
    """

    name: str
    heading: str
    digits: int | None = None
    best: str = ""
    style: str = ""


def described(name: str, digits: int | None = None, best: str = "") -> Column:
    """A column of results.csv, with its label; ``digits`` where a view shows others than usual."""
    one = DESCRIBED[name]
    return Column(name, one.label, one.digits if digits is None else digits, best)


def with_own_rates(columns: Sequence[T], lines: Sequence[Mapping[str, Any]], make: Callable[[str], T]) -> list[T]:
    """Columns with those that share FULL's rate with the looks of menus' own in some lines, after it.

    Args:
        make: a column by its name.
    """
    own = sorted({name for line in lines for name in line if name.startswith(OWN_RATE)})
    place = columns.index(make(RATES[-1])) + 1
    return [*columns[:place], *map(make, own), *columns[place:]]


def rate_column(digits: int | None = None) -> Callable[[str], Column]:
    """Makes the column of an action rate."""

    def made(name: str) -> Column:
        label = name.removeprefix(OWN_RATE).upper() if name.startswith(OWN_RATE) else ""
        return Column(name, label, 3 if digits is None else digits) if label else described(name, digits)

    return made


def cell(value: Any, column: Column) -> str:
    """A value as text; None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool | str | int) or column.digits is None:
        return " ".join(str(value).splitlines())  # whatever a data set is called: a row is one line
    return rounded(value, column.digits)


def rounded(value: float, digits: int) -> str:
    """A number; one just below 1 or above 0 is not written as 1 or 0, nor zero with a sign."""
    text, least = f"{value:.{digits}f}", f"{10.0**-digits:.{digits}f}"
    if digits and 0 < value < 1 and float(text) in (0, 1):
        return f"<{least}" if value < 0.5 else f">{1 - float(least):.{digits}f}"
    return text.removeprefix("-") if not float(text) else text
