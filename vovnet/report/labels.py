"""What a row is called: in tables on the terminal, in reports and in figures."""

from collections import Counter
from collections.abc import Mapping, Sequence

from vovnet.registry import POLICIES
from vovnet.results.columns import ASKED, CURVE, DESCRIBED, ResultRow


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
