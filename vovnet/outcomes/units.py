"""What a look costs: in vision tokens, in operations or in time. 1 is a maximal FULL image in each of them."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from vovnet.actions import Action
from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_json
from vovnet.fingerprint import digest
from vovnet.outcomes.looks import full_pruning
from vovnet.schema import RunConfig
from vovnet.vlm.budget import max_tokens
from vovnet.vlm.facts import prefill_flops, vision_flops
from vovnet.vlm.files import Checkpoint

log = logging.getLogger(__name__)
LATENCY = "latency"  # folder of measured latencies in the store
STEPS = 64  # pieces of the curve of operations over tokens


class Unit(Protocol):
    """Costs of looks by the vision tokens that they read; ``name`` tells apart units whose costs are not the same."""

    @property
    def name(self) -> str:
        """As in results and policy files."""
        ...

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """Normalised cost, of the same shape; it never falls as tokens rise, and 0 tokens cost nothing."""
        ...


@dataclass(frozen=True)
class Tokens:
    """A share of a maximal FULL image's tokens, ``most``."""

    most: int
    name: ClassVar[str] = "tokens"

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """See ``Unit``."""
        cost: np.ndarray = tokens / self.most
        return cost


@dataclass(frozen=True)
class Curve:
    """Prices that are known at some numbers of tokens, linear in between; more than a maximal image is several.

    Attributes:
        tokens, prices: rising, from 0 to a maximal FULL image.
    """

    name: str
    tokens: tuple[float, ...]
    prices: tuple[float, ...]

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """See ``Unit``."""
        images = np.maximum(tokens / self.tokens[-1], 1.0)
        cost: np.ndarray = images * np.interp(tokens / images, self.tokens, self.prices) / self.prices[-1]
        return cost


def unit_of(config: RunConfig, checkpoint: Checkpoint, looks: Iterable[Action] = ()) -> Unit:
    """The configured unit, ``policy.cost_unit``.

    Args:
        looks: of a policy, besides those of the configured menu.

    Raises:
        VoVNetError: it cannot be had for this model, this FULL or this store.
    """
    most, asked = max_tokens(config.vision_budget, checkpoint), config.policy.cost_unit
    if asked == "tokens":
        return Tokens(most)
    pruned = {look.label for look in (*config.menu, *config.policy.baseline.menu(config.menu), *looks) if look.pruning}
    if full_pruning(config) is not None or pruned:
        which = min(pruned, default="FULL")
        raise VoVNetError(
            f"policy.cost_unit={asked} is known of whole images, and {which} is pruned here; set "
            "policy.cost_unit=tokens."
        )
    return _operations(checkpoint, most) if asked == "flops" else _latency(config, checkpoint, most)


def split_name(name: str) -> tuple[Any, str | None]:
    """``policy.cost_unit`` and ``policy.latency_device`` of a unit's name."""
    kind, _, device = name.partition(" on ")
    return kind, device.partition(" ")[0] or None


def _operations(checkpoint: Checkpoint, most: int) -> Curve:
    """Vision tower and language model over an image's tokens; texts and answers cost the same under every look."""
    merge = checkpoint.vision_config.get("spatial_merge_size")
    tokens = np.linspace(0, most, STEPS + 1)
    tower = vision_flops(checkpoint.vision_config, tokens * merge**2) if isinstance(merge, int) else None
    if tower is None:
        raise VoVNetError(
            f"the sizes of the vision tower of {checkpoint.model_type} are not known; set policy.cost_unit=tokens, or "
            "latency after `python -m experiments.profile`."
        )
    language = prefill_flops(checkpoint.text_config | {"vocab_size": 0}, tokens, tokens)
    return Curve("flops", tuple(tokens.tolist()), tuple((tower + language).tolist()))


def _latency(config: RunConfig, checkpoint: Checkpoint, most: int) -> Curve:
    """What a look adds to the time of an answer without an image, as ``experiments.profile`` has measured it."""
    found = {path.stem: path for path in sorted(_place(config, checkpoint).glob("*.json"))}
    wanted = config.policy.latency_device
    if wanted is None and len(found) == 1:
        (wanted,) = found
    if wanted not in found:
        known = f"measured are {', '.join(found)}" if found else "none is measured"
        advice = "run `python -m experiments.profile policy/baseline=always_full`"
        if found and wanted is None:
            advice = "set policy.latency_device to one of them"
        raise VoVNetError(
            f"policy.cost_unit=latency needs the latencies of this backbone on one device, of which {known}; {advice}."
        )
    try:
        measured = read_object(found[wanted])
        tokens, prices = (np.asarray(measured[name], dtype=np.float64) for name in ("tokens", "milliseconds"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VoVNetError(f"{found[wanted]} is damaged ({error}); remove it and run experiments.profile.") from error
    return latency_curve(wanted, tokens, prices, most)


def latency_curve(device: str, tokens: np.ndarray, milliseconds: np.ndarray, most: int) -> Curve:
    """Latencies over and above that of an answer without an image, up to a maximal image.

    Noise that makes a larger look faster counts as no difference, with a warning. Where no maximal image was measured,
    the last slope leads on to it.

    Args:
        tokens, milliseconds: rising from no image, [K].

    Raises:
        VoVNetError: the looks take no longer than none.
    """
    points = digest([tokens.tolist(), milliseconds.tolist(), most], 8)
    tokens, first = np.unique(tokens, return_index=True)
    extra = milliseconds[first] - milliseconds[0]
    rising = np.maximum.accumulate(np.maximum(extra, 0.0))
    if len(tokens) < 2 or not rising[-1] > 0:
        raise VoVNetError(
            f"the latencies on {device} show no time that images take ({len(tokens)} sizes were measured); profile "
            "more questions, or set policy.cost_unit=tokens."
        )
    if (rising > extra).any():
        log.warning("the latencies on %s fall as images grow, which is taken for noise; profile more questions", device)
    slope = (rising[-1] - rising[-2]) / (tokens[-1] - tokens[-2])
    whole = float(np.interp(most, tokens, rising)) + slope * max(0.0, most - float(tokens[-1]))
    below = tokens < most
    return Curve(
        f"latency on {device} ({points})", (*tokens[below].tolist(), float(most)), (*rising[below].tolist(), whole)
    )


def write_latency(
    config: RunConfig, checkpoint: Checkpoint, device: str, tokens: Sequence[float], milliseconds: Sequence[float]
) -> Path:
    """Keep measured latencies beside the outcomes, by device; fewer tokens first."""
    path = _place(config, checkpoint) / f"{_slug(device)}.json"
    facts = {"device": device, "backbone": checkpoint.fingerprint, "under": _facts(config)}
    write_json(path, facts | {"tokens": list(tokens), "milliseconds": list(milliseconds)})
    return path


def _place(config: RunConfig, checkpoint: Checkpoint) -> Path:
    return Path(config.paths.store) / LATENCY / digest([checkpoint.fingerprint, _facts(config)], 16)


def _facts(config: RunConfig) -> dict[str, Any]:
    """What a latency depends on beside model and device."""
    order, reuse = config.backbone.prompt_order, config.eval.cache_reuse
    return {"dtype": config.backbone.dtype, "order": order, "reuse": reuse, "tokens": config.eval.max_new_tokens}


def _slug(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")
