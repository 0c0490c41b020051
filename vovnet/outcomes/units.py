"""What a look costs: in vision tokens, in operations or in time. 1 is a maximal FULL image in each of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_json
from vovnet.fingerprint import digest
from vovnet.outcomes.variants import full_pruning
from vovnet.schema import RunConfig
from vovnet.vlm.budget import max_tokens
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.flops import prefill_flops, vision_flops

LATENCY = "latency"  # folder of measured latencies in the store
STEPS = 64  # pieces of the curve of operations over tokens


class Unit(Protocol):
    """Costs of looks by the vision tokens that they read."""

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """Normalised cost, of the same shape; it never falls as tokens rise, and 0 tokens cost nothing."""
        ...


@dataclass(frozen=True)
class Tokens:
    """A share of a maximal FULL image's tokens, ``most``."""

    most: int

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

    tokens: tuple[float, ...]
    prices: tuple[float, ...]

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """See ``Unit``."""
        images = np.maximum(tokens / self.tokens[-1], 1.0)
        cost: np.ndarray = images * np.interp(tokens / images, self.tokens, self.prices) / self.prices[-1]
        return cost


def unit_of(config: RunConfig, checkpoint: Checkpoint) -> Unit:
    """The configured unit, ``policy.cost_unit``.

    Raises:
        VoVNetError: it cannot be had for this model, this FULL or this store.
    """
    most, asked = max_tokens(config.vision_budget, checkpoint), config.policy.cost_unit
    if asked == "tokens":
        return Tokens(most)
    pruned = {look.label for look in (*config.menu, *config.policy.baseline.menu(config.menu)) if look.pruning}
    if full_pruning(config) is not None or pruned:
        which = min(pruned, default="FULL")
        raise VoVNetError(
            f"policy.cost_unit={asked} is known of whole images, and {which} is pruned here; set "
            "policy.cost_unit=tokens."
        )
    return _operations(checkpoint, most) if asked == "flops" else _latency(config, checkpoint, most)


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
    return Curve(tuple(tokens.tolist()), tuple((tower + language).tolist()))


def _latency(config: RunConfig, checkpoint: Checkpoint, most: int) -> Curve:
    """What a look adds to the time of an answer without an image, as ``experiments.profile`` has measured it."""
    found = {path.stem: path for path in sorted(_place(config, checkpoint).glob("*.json"))}
    wanted = config.policy.latency_device
    if wanted is None and len(found) == 1:
        (wanted,) = found
    if wanted not in found:
        known = f"measured are {', '.join(found)}" if found else "none is measured"
        advice = "set policy.latency_device to one of them" if found and wanted is None else "run experiments.profile"
        raise VoVNetError(
            f"policy.cost_unit=latency needs the latencies of this backbone on one device, of which {known}; {advice}."
        )
    try:
        measured = read_object(found[wanted])
        tokens, prices = (np.asarray(measured[name], dtype=np.float64) for name in ("tokens", "milliseconds"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VoVNetError(f"{found[wanted]} is damaged ({error}); remove it and run experiments.profile.") from error
    return latency_curve(tokens, prices, most)


def latency_curve(tokens: np.ndarray, milliseconds: np.ndarray, most: int) -> Curve:
    """Latencies over and above that of an answer without an image, which comes first; noise below an earlier one
    counts as nothing. The last slope leads on to a maximal image.

    Raises:
        VoVNetError: looks take no longer than none.
    """
    extra = np.maximum.accumulate(np.maximum(milliseconds - milliseconds[0], 0.0))
    if not (len(tokens) > 1 and (np.diff(tokens) > 0).all() and extra[-1] > 0):
        raise VoVNetError("images cost no time in the measured latencies; profile more questions.")
    if tokens[-1] < most:
        slope = (extra[-1] - extra[-2]) / (tokens[-1] - tokens[-2])
        tokens, extra = np.append(tokens, most), np.append(extra, extra[-1] + slope * (most - tokens[-1]))
    return Curve(tuple(tokens.tolist()), tuple(extra.tolist()))


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
