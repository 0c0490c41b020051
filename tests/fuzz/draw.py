"""Random compositions: options of the groups, and values from the ranges that the schema states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from vovnet import registry
from vovnet.options import groups
from vovnet.schema import RunConfig

# What each data set is given so that it is small. None is downloaded.
SIZES = ("train_images=40", "test_images=12")
MINIS = ("mini_mmbench", "mini_mmmu", "mini_textvqa")
DATASETS = {
    "easy_vqa": (),
    **{name: tuple(f"dataset.generate.{size}" for size in SIZES) for name in MINIS},
    **{
        name: tuple(f"dataset.parts.{part}.generate.{size}" for part in MINIS for size in SIZES)
        for name in ("mini", "embedded")
    },
    "jsonl": (),  # drawn by ``tests.fuzz``
}
KEYS = """
policy.feature_mode policy.action_space policy.hidden_size policy.procedure policy.use_straight_through
policy.cost_unit policy.full_pruning_ratio policy.full_pruning_mode policy.interpolate policy.objective.temperature
policy.objective.entropy_weight policy.objective.loss backbone.prompt_order backbone.chat_template
backbone.attn_implementation backbone.implementation backbone.batch_invariant vision_budget.coarse.long_side
vision_budget.coarse.max_pixels vision_budget.coarse.max_tokens vision_budget.full.long_side
vision_budget.full.max_pixels vision_budget.full.max_tokens eval.split eval.batch_size eval.num_workers eval.chunk_rows
eval.max_new_tokens eval.num_beams eval.do_sample eval.temperature eval.cache_reuse eval.seed eval.random_fallback
training.seed training.val_fraction training.schedule training.lambda_warmup_fraction
""".split()
# Largest values that are drawn where the schema allows far larger ones: a composition takes about a second.
LARGEST = {
    "hidden_size": 64, "interpolate": 2, "num_beams": 3, "max_new_tokens": 6, "num_workers": 2, "temperature": 4,
    "batch_size": 9, "chunk_rows": 9, "long_side": 72, "max_pixels": 4096, "max_tokens": 70, "entropy_weight": 2,
}  # fmt: skip
FALLBACKS = ("entropy_threshold", "margin_threshold", "entropy_quantile")
LAMBDAS = (0, 0.001, 0.02, 0.05, 0.2, 0.5, 1, 10, 1000)


@dataclass(frozen=True)
class Composition:
    """What one round of the fuzz does.

    Attributes:
        overrides: of training and evaluation.
        lambdas: rising; one for a policy that reads none.
        trained: whether the policy is trained; otherwise its weights are random, which chooses more wildly.
    """

    overrides: tuple[str, ...]
    lambdas: tuple[float, ...]
    trained: bool


def composition(rng: Random) -> Composition:
    """The composition of a random state; not every one is accepted."""
    dataset = rng.choice([*DATASETS])
    given = [f"dataset={dataset}", *DATASETS[dataset], f"eval.max_samples={rng.randint(1, 12)}"]
    given += [
        f"{group}={rng.choice(groups()[group])}"
        for group in ("policy/objective", "vision_budget")
        if rng.random() < 0.3
    ]
    baseline = rng.choice(groups()["policy/baseline"]) if rng.random() < 0.5 else "none"
    given += [f"policy/baseline={baseline}", *_options(baseline, rng)]
    given += [override(key, rng) for key in rng.sample(KEYS, rng.randint(0, 8))]
    if rng.random() < 0.1 and not any(key.startswith("policy.action_space=") for key in given):
        given.append(f"policy.looks={menu(rng)}")
    if rng.random() < 0.15:
        trigger = f"policy.fallback_{rng.choice(FALLBACKS)}"
        given += [f"policy.fallback_mode={rng.choice(['coarse', 'full'])}", f"{trigger}={rng.choice([0, 0.2, 0.9, 1])}"]
    if rng.random() < 0.1:
        given.append(override(rng.choice(KEYS), rng, outside=True))
    reads = baseline == "none" or "policy.baseline.rule=utility" in given
    lambdas = sorted(rng.sample(LAMBDAS, rng.randint(2, 4) if reads else 1))
    return Composition(tuple(_last_of_each(given)), tuple(lambdas), baseline == "none" and rng.random() < 0.15)


def _options(baseline: str, rng: Random) -> list[str]:
    """Options of a baseline; those that have to fit to each other are drawn together."""
    place = "policy.baseline"
    if baseline == "none":
        return []
    if baseline == "random_policy_matched":
        shares = [rng.choice([0, rng.random()]) for _ in range(3)]
        ratios = [share / (sum(shares) or 1) for share in shares] if sum(shares) else [0, 1, 0]
        return [f"{place}.target_ratios=[{','.join(map(str, ratios))}]", f"{place}.seed={rng.randint(0, 99)}"]
    if baseline == "always_look":
        return [f"{place}.look={rng.choice(menu(rng, whole=True))}"]
    kind = registry.load(registry.POLICIES[baseline])
    own = kind.__pydantic_fields__
    return [f"{place}.{name}={_drawn(name, own[name], rng)}" for name in own if name != "name"]


def menu(rng: Random, whole: bool = False) -> Any:
    """A menu of one's own, cheapest first, as Hydra reads it; or its looks."""
    sides = sorted(rng.sample(range(8, 72, 4), rng.randint(0, 3)))
    modes = [rng.choice(["stride", "topk_norm", "random", "pool", "merge"]) for _ in sides]
    looks = [
        f"{{long_side:{side}" + (f",{mode}:0.5" if rng.random() < 0.3 else "") + "}"
        for side, mode in zip(sides, modes, strict=True)
    ]
    looks = ["no", *looks, "full"]
    return looks if whole else f"[{','.join(looks)}]"


def override(key: str, rng: Random, outside: bool = False) -> str:
    """A key with a value from its range, or just outside of it."""
    kind: Any = RunConfig
    *sections, name = key.split(".")
    for section in sections:
        kind = _config_of(kind.__pydantic_fields__[section].annotation)
    return f"{key}={_drawn(name, kind.__pydantic_fields__[name], rng, outside)}"


def _config_of(annotation: Any) -> Any:
    """The dataclass of a section."""
    while not hasattr(annotation, "__pydantic_fields__"):
        annotation = get_args(annotation)[0]
    return annotation


def _drawn(name: str, field: FieldInfo, rng: Random, outside: bool = False) -> Any:
    """A value of a field."""
    kind, bounds = field.annotation, list(field.metadata)
    if get_origin(kind) in (Union, UnionType):
        kinds = [one for one in get_args(kind) if one is not type(None)]
        if len(kinds) < len(get_args(kind)) and not outside and rng.random() < 0.2:
            return "null"
        kind = kinds[0]
    while hasattr(kind, "__metadata__"):
        for one in kind.__metadata__:
            bounds += one.metadata if isinstance(one, FieldInfo) else [one]
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return "nonsense" if outside else rng.choice(get_args(kind))
    if kind is bool:
        return "perhaps" if outside else rng.choice(["true", "false"])
    return _number(kind, _range(bounds), LARGEST.get(name, math.inf), rng, outside)


def _range(bounds: Sequence[Any]) -> tuple[float, bool, float, bool]:
    """Lower bound, whether it is excluded, upper bound, whether it is excluded."""
    low, low_out, high, high_out = -math.inf, False, math.inf, False
    for one in bounds:
        low, low_out = (
            (one.ge, False) if hasattr(one, "ge") else (one.gt, True) if hasattr(one, "gt") else (low, low_out)
        )
        high, high_out = (
            (one.le, False) if hasattr(one, "le") else (one.lt, True) if hasattr(one, "lt") else (high, high_out)
        )
    return low, low_out, high, high_out


def _number(kind: type, limits: tuple[float, bool, float, bool], largest: float, rng: Random, outside: bool) -> Any:
    low, low_out, high, high_out = limits
    if outside:
        return rng.choice(
            [low if low_out else low - 1, *([high if high_out else high + 1] if math.isfinite(high) else [])]
        )
    top = min(high, largest, 2**32 - 1 if kind is int else 1e3)
    if kind is int:
        return rng.randint(int(low) + low_out, int(top) - (high_out and top == high))
    value = rng.choice([low, top, rng.uniform(low, top), low + (top - low) * 10 ** rng.uniform(-4, 0)])
    return min(max(value, low + 1e-3 * low_out), top - 1e-3 * (high_out and top == high))


def _last_of_each(given: Sequence[str]) -> list[str]:
    """The last override of each key: a command takes each once."""
    return [*{override.partition("=")[0]: override for override in given}.values()]
