"""Latencies of looks as ``experiments.profile`` has measured them, kept in the store by model, settings and device."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_json
from vovnet.fingerprint import digest
from vovnet.schema import RunConfig
from vovnet.vlm.files import Checkpoint

LATENCY = "latency"  # folder in the store


@dataclass(frozen=True)
class Latencies:
    """Medians of one device.

    Attributes:
        tokens, milliseconds: of looks at whole images, fewer tokens first, from no image on.
        pruned: looks that leave tokens out, as a configuration says them, with the tokens before that and milliseconds.
    """

    tokens: Sequence[float]
    milliseconds: Sequence[float]
    pruned: Sequence[tuple[Any, float, float]] = ()

    def digest(self, most: int) -> str:
        """Tells one measurement from another; ``most`` are the tokens of a maximal image."""
        points = [[*map(float, self.tokens)], [*map(float, self.milliseconds)], most]
        return digest([*points, [*map(list, self.pruned)]] if self.pruned else points, 8)


def write_latencies(config: RunConfig, checkpoint: Checkpoint, device: str, measured: Latencies) -> Path:
    """Keep what was measured beside the outcomes, in place of an earlier measurement on the device."""
    path = _place(config, checkpoint) / f"{_slug(device)}.json"
    facts = {"device": device, "backbone": checkpoint.fingerprint, "under": _facts(config)}
    table = {"tokens": [*measured.tokens], "milliseconds": [*measured.milliseconds]}
    pruned = [{"look": look, "whole_tokens": size, "milliseconds": time} for look, size, time in measured.pruned]
    write_json(path, facts | table | {"pruned": pruned})
    return path


def read_latencies(config: RunConfig, checkpoint: Checkpoint) -> tuple[str, Latencies]:
    """The device of ``policy.latency_device``, or the only one, and what was measured on it.

    Raises:
        VoVNetError: nothing was measured on it, or the file is damaged.
    """
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
        table = read_object(found[wanted])
        pruned = [
            (one["look"], float(one["whole_tokens"]), float(one["milliseconds"])) for one in table.get("pruned", ())
        ]
        tokens, times = ([float(number) for number in table[name]] for name in ("tokens", "milliseconds"))
        return wanted, Latencies(tokens, times, pruned)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VoVNetError(f"{found[wanted]} is damaged ({error}); remove it and run experiments.profile.") from error


def patches_of_token(checkpoint: Checkpoint) -> int:
    """Patches that the vision tower merges into a token, in families whose configuration says so; 1 elsewhere."""
    merge = checkpoint.vision_config.get("spatial_merge_size")
    return merge**2 if isinstance(merge, int) else 1


def _place(config: RunConfig, checkpoint: Checkpoint) -> Path:
    return Path(config.paths.store) / LATENCY / digest([checkpoint.fingerprint, _facts(config)], 16)


def _facts(config: RunConfig) -> dict[str, Any]:
    """What a latency depends on beside model and device."""
    order, reuse = config.backbone.prompt_order, config.eval.cache_reuse
    return {"dtype": config.backbone.dtype, "order": order, "reuse": reuse, "tokens": config.eval.max_new_tokens}


def _slug(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")
