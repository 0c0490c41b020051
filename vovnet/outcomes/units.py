"""What a look costs: in vision tokens, in operations or in time. 1 is a maximal FULL image in each of them."""

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from vovnet.actions import USUAL, Action
from vovnet.errors import VoVNetError
from vovnet.outcomes.latencies import Latencies, patches_of_token, read_latencies
from vovnet.outcomes.looks import full_pruning
from vovnet.outcomes.rows import ModelOutcomes, Outcomes
from vovnet.schema import RunConfig, in_order
from vovnet.terminal import counted
from vovnet.vlm.budget import max_tokens
from vovnet.vlm.facts import prefill_flops, vision_flops
from vovnet.vlm.files import Checkpoint

log = logging.getLogger(__name__)
STEPS = 64  # pieces of the curve of operations over tokens


class Unit(Protocol):
    """Costs of looks by the vision tokens that they read; ``name`` tells apart units whose costs are not the same."""

    @property
    def name(self) -> str:
        """As in results and policy files."""
        ...

    @property
    def pruned(self) -> Collection[Action]:
        """The looks whose cost depends on the whole image's tokens, too."""
        ...

    @property
    def patches(self) -> int:
        """That the vision tower reads for each token of a whole image, in families that can prune."""
        ...

    def of(self, look: Action, tokens: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Normalised cost, of the same shape; it never falls as tokens rise, and 0 tokens cost nothing.

        Args:
            tokens: that enter the language model.
            whole: before any were pruned; the same for looks that are not in ``pruned``.
        """
        ...


@dataclass(frozen=True)
class Tokens:
    """A share of a maximal FULL image's tokens, ``most``."""

    most: int
    name: ClassVar[str] = "tokens"
    pruned: ClassVar[frozenset[Action]] = frozenset()
    patches: ClassVar[int] = 1

    def of(self, look: Action, tokens: np.ndarray, whole: np.ndarray) -> np.ndarray:
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

    def at(self, tokens: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Price of ``tokens`` in as many images as ``whole`` tokens are."""
        images = np.maximum(whole / self.tokens[-1], 1.0)
        price: np.ndarray = images * np.interp(tokens / images, self.tokens, self.prices)
        return price


@dataclass(frozen=True)
class Operations:
    """Floating-point operations: the vision tower reads whole images, the language model what is left of them.

    Attributes:
        whole: of both, by the tokens of images that nothing is pruned of.
        language: of the language model alone.
    """

    whole: Curve
    language: Curve
    pruned: frozenset[Action]
    patches: int
    name: ClassVar[str] = "flops"

    def of(self, look: Action, tokens: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """See ``Unit``."""
        price = self.whole.at(whole, whole)
        if look in self.pruned:
            price = price - (self.language.at(whole, whole) - self.language.at(tokens, whole))
        cost: np.ndarray = price / self.whole.prices[-1]
        return cost


@dataclass(frozen=True)
class Latency:
    """Measured time; a pruned look takes the share of the whole look's that was measured of it.

    Attributes:
        whole: milliseconds by the tokens of images that nothing is pruned of.
        shares: in [0, 1], by look.
    """

    name: str
    whole: Curve
    shares: Mapping[Action, float]
    patches: int

    @property
    def pruned(self) -> Collection[Action]:
        """See ``Unit``."""
        return self.shares.keys()

    def of(self, look: Action, tokens: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """See ``Unit``."""
        cost: np.ndarray = self.whole.at(whole, whole) / self.whole.prices[-1] * self.shares.get(look, 1.0)
        return cost


def paid(unit: Unit, look: Action, rows: ModelOutcomes) -> np.ndarray:
    """Normalised cost of each question's look, [N]."""
    tokens = rows.vision_tokens
    return unit.of(look, tokens, rows.patches / unit.patches if look in unit.pruned else tokens)


def paid_each(unit: Unit, outcomes: Outcomes, looks: Sequence[Action]) -> np.ndarray:
    """Normalised cost of several looks, [N, A]."""
    return np.stack([paid(unit, look, outcomes.branches[look]) for look in looks], axis=1)


def unit_of(config: RunConfig, checkpoint: Checkpoint, looks: Iterable[Action]) -> Unit:
    """The configured unit, ``policy.cost_unit``.

    Args:
        looks: whose costs are asked.

    Raises:
        VoVNetError: it cannot be had for this model, these looks or this store.
    """
    most, asked = max_tokens(config.vision_budget, checkpoint), config.policy.cost_unit
    if asked == "tokens":
        return Tokens(most)
    pruned = {look: _measured_as(config, look) for look in looks}
    pruned = {look: how for look, how in pruned.items() if how.pruning is not None}
    return (_operations if asked == "flops" else _latency)(config, checkpoint, most, pruned)


def _measured_as(config: RunConfig, look: Action) -> Action:
    """A look as a profile knows it: a pruned FULL is a look of its own there."""
    pruning = full_pruning(config) if look == Action.FULL else None
    return look if pruning is None else Action.of(pruning=pruning)


def split_name(name: str) -> tuple[Any, str | None]:
    """``policy.cost_unit`` and ``policy.latency_device`` of a unit's name."""
    kind, _, device = name.partition(" on ")
    return kind, device.partition(" ")[0] or None


def _operations(config: RunConfig, checkpoint: Checkpoint, most: int, pruned: Mapping[Action, Action]) -> Operations:
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
    whole, part = (Curve(tuple(tokens.tolist()), tuple(prices.tolist())) for prices in (tower + language, language))
    return Operations(whole, part, frozenset(pruned), patches_of_token(checkpoint))


def _latency(config: RunConfig, checkpoint: Checkpoint, most: int, pruned: Mapping[Action, Action]) -> Latency:
    """What a look adds to the time of an answer without an image, as ``experiments.profile`` has measured it."""
    device, measured = read_latencies(config, checkpoint)
    unit = latency_unit(device, measured, most, patches_of_token(checkpoint))
    if lacking := [how for how in pruned.values() if how not in unit.shares]:
        # A later profile replaces an earlier one, so it has to time again what was timed.
        menu = (look.content for look in in_order((*USUAL, *unit.shares, *lacking), config.vision_budget))
        raise VoVNetError(
            f"policy.cost_unit=latency: the pruned look {lacking[0].label} was not measured on {device}; run `python "
            "-m experiments.profile policy/baseline=always_full "
            f"'policy.looks={json.dumps([*menu]).replace(chr(34), '')}'`."
        )
    return replace(unit, shares={look: unit.shares[how] for look, how in pruned.items()})


def latency_unit(device: str, measured: Latencies, most: int, patches: int = 1) -> Latency:
    """Latencies over and above that of an answer without an image, up to a maximal image.

    Noise that makes a larger look faster counts as no difference, with a warning. Where no maximal image was measured,
    the last slope leads on to it.

    Raises:
        VoVNetError: the looks take no longer than none.
    """
    tokens, first = np.unique(np.asarray(measured.tokens, dtype=np.float64), return_index=True)
    extra = np.asarray(measured.milliseconds, dtype=np.float64)[first] - measured.milliseconds[0]
    rising = np.maximum.accumulate(np.maximum(extra, 0.0))
    if len(tokens) < 2 or not rising[-1] > 0:
        raise VoVNetError(
            f"the latencies on {device} show no time that images take ({counted(len(tokens), 'size')} measured); "
            "profile more questions, or set policy.cost_unit=tokens."
        )
    slope = (rising[-1] - rising[-2]) / (tokens[-1] - tokens[-2])
    end = float(np.interp(most, tokens, rising)) + slope * max(0.0, most - float(tokens[-1]))
    below = tokens < most
    whole = Curve((*tokens[below].tolist(), float(most)), (*rising[below].tolist(), end))
    shares, noisy = dict[Action, float](), bool((rising > extra).any())
    for content, size, time in measured.pruned:
        unpruned, own = float(whole.at(np.array(size), np.array(size))), time - measured.milliseconds[0]
        shares[Action.said(content)] = float(np.clip(own / unpruned, 0.0, 1.0)) if unpruned > 0 else 1.0
        noisy |= not 0 <= own <= unpruned
    if noisy:
        log.warning("the latencies on %s fall as images grow, which is taken for noise; profile more questions", device)
    return Latency(f"latency on {device} ({measured.digest(most)})", whole, shares, patches)
