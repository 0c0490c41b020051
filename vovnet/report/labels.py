"""What a row is called: in tables on the terminal, in reports and in figures."""

from collections import Counter
from collections.abc import Mapping, Sequence

from vovnet.results.row import CURVE, ResultRow


def setting(row: ResultRow) -> str:
    """What tells a row apart, for people."""
    parts = [row.baseline_name or "VoVNet"]
    for label, value in (
        ("\u03bb", row.lambda_cost), ("", row.uncertainty_metric), ("t", row.threshold), ("", row.pruning_mode),
        ("keep", row.pruning_ratio), ("side", row.long_side), ("", row.oracle_rule), ("fallback", row.fallback_mode),
        ("entropy", row.fallback_entropy_threshold), ("margin", row.fallback_margin_threshold),
    ):  # fmt: skip
        if value is not None:
            shown = value if isinstance(value, str) else f"{value:g}"
            parts.append(f"{label}={shown}" if label else str(shown))
    if row.baseline_name == "random_policy_matched":
        parts.append(f"seed={row.seed}")
    if row.uncertainty_metric and row.vision_mode == "coarse":
        parts.append("coarse")
    if not row.baseline_name:
        parts += [str(row.objective)] * (row.objective != "value") + [str(row.action_space)] * (
            row.action_space != "ternary"
        )
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
    parts = [row.baseline_name, row.uncertainty_metric, row.vision_mode, row.pruning_mode, row.oracle_rule]
    if row.baseline_name != "vision_token_pruning_proxy" and row.pruning_ratio is not None:
        parts.append(f"keep={row.pruning_ratio:g}")  # a setting of FULL, and not what its curve runs over
    return " ".join(part for part in parts if part)


def vovnet_label(row: ResultRow, usual: Mapping[str, object]) -> str:
    """VoVNet, with the settings in which this row is not as most are; where none is most, only those that are set."""
    unusual = (
        name
        for name in CURVE
        if (getattr(row, name) != usual[name] if name in usual else getattr(row, name) is not None)
    )
    shown = {name: f"{name}={_short(getattr(row, name))}" for name in unusual if name != "checkpoint"}
    if len(shown) > 1:  # a name for what differs, and what differs has names of its own
        shown.pop("training", None)
    return ", ".join(["VoVNet", *shown.values()])


def point_label(curve: str, row: ResultRow) -> str:
    """A point of the curve of this name, for people."""
    return setting(row) if row.baseline_name else f"{curve}, \u03bb = {row.lambda_cost:g}"


def seeded_label(row: ResultRow) -> str:
    """A setting, and the seed of a policy's training, which tells equal settings of a comparison apart."""
    return setting(row) if row.baseline_name else f"{setting(row)} seed={row.seed}"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
