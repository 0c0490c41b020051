"""The columns of results.csv, each described once: type, meaning, role, label, digits, bounds.

Whatever prints, sorts, compares or reads results takes it from here. A policy may add settings of its own, written as
columns ``policy.NAME`` after these, a menu with looks of its own adds ``rate.LABEL``, and ``eval.metrics``
``metric.NAME``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, Literal, get_args

from vovnet.policy.protocol import Value

Role = Literal["protocol", "subject", "made", "asked", "result"]
OWN_ENGINE = "vovnet"  # this program, as the maker of outcomes
# Fields that hold columns of the user's own, and what begins the names of these.
EXTRA, OWN_RATE, OWN_METRIC = "policy.", "rate.", "metric."
FAMILIES = {"extra": EXTRA, "rates": OWN_RATE, "metrics": OWN_METRIC}


@dataclass(frozen=True)
class Column:
    """What is known of a column.

    Attributes:
        kinds: types of its cells; NoneType is among them where a cell may be empty.
        role: ``protocol``: rows must share it to be compared; ``subject``: whose row it is; ``made``: how the policy
            was made and run; ``asked``: what was asked of it; ``result``: what came of it.
        label: people's name for it; of a setting, what is written before the value, "" for the value alone.
        digits: after the point, where people read it.
        low, high: bounds.
        usual: a setting that goes without saying.
        along_curve: whether the points of a curve over lambda share what was asked.
        in_matrix: whether a result is in eval_matrix, as all settings are.
        default: value for a table that lacks the column; MISSING for columns that no table may lack.
    """

    name: str
    kinds: tuple[Any, ...]
    meaning: str
    role: Role
    label: str
    digits: int | None
    low: float | None
    high: float | None
    usual: Value
    along_curve: bool
    in_matrix: bool
    default: Any


def column(
    meaning: str, role: Role = "result", *, label: str | None = None, digits: int | None = None,
    low: float | None = None, high: float | None = None, usual: Value = None, along_curve: bool = False,
    in_matrix: bool = False, default: Any = MISSING,
) -> Any:  # fmt: skip
    """A column of ``ResultRow``; see ``Column``. An optional one defaults to None in tables that lack it."""
    facts = {
        "meaning": meaning, "role": role, "label": label, "digits": digits, "low": low, "high": high, "usual": usual,
        "along_curve": along_curve, "in_matrix": in_matrix,
    }  # fmt: skip
    return field(default=default, metadata=facts)


def _rate(meaning: str, **facts: Any) -> Any:
    return column(meaning, **({"low": 0, "high": 1, "digits": 3} | facts))


def _amount(meaning: str, **facts: Any) -> Any:
    return column(meaning, low=0, **facts)


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One line of results.csv, its columns in order. None is written as an empty cell: does not apply."""

    dataset: str = column("data set", "protocol")
    split: str = column("its split", "protocol")
    metric: str = column("the rule by which answers are scored", default="")
    num_samples: int = column("questions that were answered", "protocol", low=1)
    baseline_name: str = column("the baseline; empty for VoVNet", "subject")
    policy: str = column("what the policy calls itself", in_matrix=True, default="")
    objective: str | None = column("what the policy was trained for", "made", label="", usual="value")
    use_straight_through: bool | None = column("whether its gradient was straight-through", "made")
    procedure: str | None = column("whether it looks once or again", "made", label="", usual="one_step")
    feature_mode: str | None = column("what it knows of a question", "made")
    action_space: str | None = column("what it chooses among", "made", label="", usual="ternary")
    trained_on: str | None = column("data set that the policy learned from", "made")
    policy_backbone: str | None = column("backbone that the policy is of, where it is another one", "made")
    training: str | None = column("all other options of its training, as a hash", "made")
    seed: int = column("of the policy's training; of the draw, for a random policy", "made", low=0, default=0)
    trained_lambda: float | None = column("lambda of its training", "made", low=0)
    lambda_cost: float | None = column("price of one whole image in accuracy", "asked", label="λ", low=0)
    uncertainty_metric: str | None = column("what a threshold is compared with", "asked", label="")
    vision_mode: str | None = column("how a threshold policy looks", "asked", label="", usual="full")
    threshold: float | None = column("where it begins to look", "asked", label="t", low=0)
    pruning_mode: str | None = column("how FULL's vision tokens are pruned", "asked", label="", along_curve=True)
    pruning_ratio: float | None = column("share of them that is kept", "asked", label="keep", along_curve=True)
    remaining_vision_tokens: float | None = _amount("mean of what is left after pruning", in_matrix=True)
    long_side: int | None = column("long side of scaled images, in pixels", "asked", label="side")
    oracle_rule: str | None = column("what the oracle chooses by", "asked", label="")
    fallback_mode: str | None = column("action where the policy is unsure", "asked", label="fallback", along_curve=True)
    fallback_entropy_threshold: float | None = column("above: unsure", "asked", label="entropy", along_curve=True)
    fallback_margin_threshold: float | None = column("below: unsure", "asked", label="margin", along_curve=True)
    extra: tuple[tuple[str, Value], ...] = column(
        "settings that a policy adds, by name; no column, but one each", "asked", along_curve=True, default=()
    )
    fallback_trigger_rate: float | None = column("share of unsure questions", in_matrix=True)
    action_ratio: str = column("the action rates as a JSON list: NO, COARSE, FULL and the menu's others", default="")
    action_rate_no: float = _rate("share answered blind", label="NO", in_matrix=True)
    action_rate_coarse: float = _rate("share answered from a small image", label="COARSE", in_matrix=True)
    action_rate_full: float = _rate("share answered from the full image", label="FULL", in_matrix=True)
    rates: tuple[tuple[str, Value], ...] = column(
        "shares answered from looks of the menu's own, by label; no column, but one each", in_matrix=True, default=()
    )
    accuracy: float = _rate("mean score over all rows, copies included", digits=4, in_matrix=True)
    accuracy_ci_low: float = _rate("95 % interval, clustered by image, from", digits=4)
    accuracy_ci_high: float = _rate("95 % interval, clustered by image, to", digits=4)
    official_metric: str | None = column("name of the benchmark's own headline number")
    official_score: float | None = column("the benchmark's own headline number")
    avg_cost: float = _amount("mean cost; 1 is a maximal FULL image", label="cost", digits=4, in_matrix=True)
    avg_looks: float | None = _amount("looks paid per question, one that shows no image included")
    avg_vision_tokens: float | None = _amount("vision tokens paid a question", label="vision tokens", digits=1)
    avg_text_tokens: float | None = _amount("text tokens read a question, text pass included", label="text tokens")
    avg_patches: float | None = _amount("patches that the vision tower read a question")
    avg_generated_tokens: float | None = _amount("tokens written a question")
    prefill_gflops: float | None = _amount("of reading the prompt", label="prefill GFLOPs", digits=3)
    gflops: float | None = _amount(
        "of everything: text pass, vision tower, prompts and answers", label="GFLOPs", digits=3
    )
    latency_p50_ms: float | None = _amount("median; in live runs at batch size 1 only")
    latency_p90_ms: float | None = _amount("90th percentile; in live runs at batch size 1 only")
    prepare_p50_ms: float | None = _amount("median share of it for opening and resizing images")
    mem_peak_mb: float | None = _amount("peak memory of a live run")
    ece: float | None = _rate("expected calibration error of the answers' confidence")
    unparsed_rate: float = _rate("share of unreadable answers", label="unreadable", in_matrix=True, default=0.0)
    unparsed_cut_rate: float | None = _rate("share unreadable and as long as eval.max_new_tokens allows", default=0.0)
    refusal_rate: float = _rate("share that declines to answer, whatever the benchmark's rule", default=0.0)
    scoring_rule: str | None = column("dataset.rule", "protocol")
    cache_reuse: bool = column("whether vision passes continue the text pass", "made", default=False)
    cost_unit: str = column("tokens, flops or latency", "protocol", default="tokens")
    prompt_order: str = column("where images are in the prompt", "protocol", default="")
    mode: str = column("replay, live or profile", "protocol", default="replay")
    backbone: str = column("the model", "protocol", default="")
    engine: str = column("what has made its outcomes", "protocol", usual=OWN_ENGINE, default=OWN_ENGINE)
    dtype: str = column("of its weights", "protocol", default="")
    checkpoint: str | None = column("the policy file", "made")
    decoding_seed: int | None = column("of sampling", "protocol")
    config_hash: str = column("of the resolved configuration", default="")
    dataset_label: str | None = column("what people call the data set, where that is not its name", default=None)
    metrics: tuple[tuple[str, Value], ...] = column(
        "what eval.metrics measures, by name; no column, but one each", in_matrix=True, default=()
    )

    @property
    def shown_dataset(self) -> str:
        """Data set and split, for people."""
        return f"{self.dataset_label or self.dataset}/{self.split}"


def _described() -> dict[str, Column]:
    table = {}
    for one in fields(ResultRow):
        kinds = get_args(one.type) or (one.type,)
        default = None if one.default is MISSING and NoneType in kinds else one.default
        facts = {**one.metadata, "label": one.name if one.metadata["label"] is None else one.metadata["label"]}
        table[one.name] = Column(name=one.name, kinds=kinds, default=default, **facts)
    return table


DESCRIBED = _described()  # by the name of a field
COLUMNS = tuple(name for name in DESCRIBED if name not in FAMILIES)
ESSENTIAL = frozenset(name for name, one in DESCRIBED.items() if one.default is MISSING)


def _of(*roles: Role) -> tuple[str, ...]:
    return tuple(name for role in roles for name, one in DESCRIBED.items() if one.role == role)


# What rows must share to be compared; what was asked of a policy; what the rows of one lambda curve share.
PROTOCOL, ASKED = _of("protocol"), _of("asked")
CURVE = (*_of("protocol", "made"), *(name for name in ASKED if DESCRIBED[name].along_curve))
SETTINGS = _of("protocol", "subject", "made", "asked")  # all that tells a row apart; rows are sorted by it
MATRIX = tuple(name for name in DESCRIBED if name in SETTINGS or DESCRIBED[name].in_matrix)
OF_POLICY = tuple(  # filled by ``Policy.columns``; other settings are ``extra``
    name for name in _of("made", "asked") if name not in ("cache_reuse", "checkpoint", "extra")
)
RATES = ("action_rate_no", "action_rate_coarse", "action_rate_full")


def rates_of(row: ResultRow) -> dict[str, float]:
    """Share of questions by the label of the look that they were answered from; 0 where no look is left out."""
    found = {name.removeprefix("action_rate_"): getattr(row, name) for name in RATES}
    return found | {name: float(rate) for name, rate in row.rates if isinstance(rate, int | float)}


def as_family(values: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    """Columns of the user's own as ``ResultRow`` holds them; those that do not apply are left out."""
    return tuple(sorted((name, value) for name, value in values.items() if value not in (None, "")))


def record(row: ResultRow, names: Sequence[str] = tuple(DESCRIBED)) -> dict[str, Value]:
    """Some columns of a row by name; a family gives one for each of its own."""
    found = {name: getattr(row, name) for name in names if name not in FAMILIES}
    for family, prefix in FAMILIES.items():
        if family in names:
            found |= {f"{prefix}{name}": value for name, value in getattr(row, family)}
    return found


def table_columns(rows: Sequence[ResultRow], names: Sequence[str] = tuple(DESCRIBED)) -> list[str]:
    """Columns of a table of some rows: those named, and last the user's own."""
    known = [name for name in names if name not in FAMILIES]
    return [*known, *sorted({name for row in rows for name in record(row, names)} - set(known))]


def order(row: ResultRow) -> tuple[Any, ...]:
    """A key that sorts rows by their settings, an empty one first."""
    known = ((value is not None, value) for name in SETTINGS if name != "extra" for value in [getattr(row, name)])
    return (*known, tuple((name, isinstance(value, str), value) for name, value in row.extra), row.config_hash)


def grouped(rows: Sequence[ResultRow], settings: Sequence[str]) -> list[list[ResultRow]]:
    """Rows that agree in some columns, together."""
    groups: dict[tuple[Any, ...], list[ResultRow]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in settings), []).append(row)
    return list(groups.values())


def looks_once(row: ResultRow) -> bool:
    """Whether no question can be looked at twice; tables of older versions hold one policy that does."""
    if row.procedure == "sequential":
        return False
    return row.baseline_name != "cascade" if row.avg_looks is None else row.avg_looks == 1


def evaluated(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Rows without those of a profile, whose few questions are there to be timed: no check or frontier is of them."""
    return [row for row in rows if row.mode != "profile"]


def same_row(row: ResultRow, recorded: Any) -> bool:
    """Whether a row is what a summary.json holds as its result; an older one may lack columns."""
    if not isinstance(recorded, Mapping):
        return False
    own = record(row)
    names = own.keys() | {name for name in recorded if name.startswith(tuple(FAMILIES.values()))}
    defaults = {name: one.default for name, one in DESCRIBED.items()}
    return all(_cell(own.get(name)) == _cell(recorded.get(name, defaults.get(name))) for name in names)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
