"""Block F1: where a question's time goes, measured as a user would wait for it.

Every stage answers the same questions, one by one or in batches of one size. After a warm-up the stages take turns, so
that a machine that slows down slows all of them. A GPU is synchronised before and after every measured piece.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from vovnet.actions import USUAL, Action
from vovnet.data import Item
from vovnet.errors import VoVNetError
from vovnet.outcomes.routed import Routed, join_routed
from vovnet.policy.fixed import Always
from vovnet.policy.route import Router
from vovnet.terminal import counted, progress
from vovnet.vlm.device import peak_mb, reset_peak
from vovnet.vlm.protocol import VLM, Reading


@dataclass(frozen=True)
class ProfileRow:
    """One line of profile.csv.

    ``stage`` is ``end_to_end`` (question to answer: the policy itself and each action alone) or a piece of it:
    ``text_pass``, ``prepare`` (open and resize the image), ``prefill``, ``decode``. Latencies in milliseconds a
    question (a batch's time over its size); tokens a question; ``mem_peak_mb`` as in ``vovnet.vlm.device``.
    """

    stage: str
    action: str  # no, coarse, full, or routed for the policy's own choices
    batch_size: int
    num_samples: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_mean_ms: float
    avg_vision_tokens: float | None
    avg_text_tokens: float | None  # the text pass included
    avg_generated_tokens: float | None
    mem_peak_mb: float


@dataclass
class Stopwatch:
    """Milliseconds a question and peak memory of named pieces."""

    device: torch.device
    batch_size: int
    milliseconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    memory: dict[tuple[str, str], float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str, action: str) -> Iterator[None]:
        """Time what happens inside, up to the last kernel."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize(self.device)
        reset_peak(self.device)
        begun = time.perf_counter()
        yield
        if on_gpu:
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - begun
        self.milliseconds.setdefault((stage, action), []).append(1000 * seconds / self.batch_size)
        self.memory[stage, action] = max(peak_mb(self.device), self.memory.get((stage, action), 0.0))


def measured(count: int, warmup: int, batch_size: int) -> range:
    """The questions that are measured: in whole batches, after at least ``warmup`` of them."""
    first = -(-warmup // batch_size) * batch_size
    return range(first, max(first, count // batch_size * batch_size))


def profile(
    router: Router, items: Sequence[Item], warmup: int, batch_size: int = 1, menu: Sequence[Action] = USUAL
) -> tuple[list[ProfileRow], dict[str, Routed]]:
    """Measure a policy, every action alone and their pieces on ``items`` after ``warmup`` of them.

    Args:
        menu: measured besides the policy's own looks.

    Returns:
        The lines, and what was done to the measured questions, by the action of the end-to-end lines.

    Raises:
        VoVNetError: nothing is left to measure after the warm-up.
    """
    places = measured(len(items), warmup, batch_size)
    if not places:
        raise VoVNetError(
            f"{counted(len(items), 'sample')} leave no batch of {batch_size} after {warmup} of warm-up; "
            "raise eval.max_samples or lower profile.warmup."
        )
    backbone = router.backbone
    backbone.builder.kept.limit = 0  # an image is opened every time, as it is by a user's question
    router = replace(router, threads=0)  # one question after another, nothing ahead
    looks = tuple(dict.fromkeys((*USUAL, *menu, *router.policy.looks)))
    alone = {action.label: replace(router, policy=Always(action)) for action in looks}
    routers = {"routed": router, **alone}
    watch, seen = Stopwatch(backbone.device, batch_size), dict[str, list[Routed]]()  # of the warm-up: thrown away
    with torch.inference_mode(), progress("profiling", places.stop, "samples") as bar:
        for start in range(0, places.stop, batch_size):
            batch = items[start : start + batch_size]
            if start == places.start:
                watch, seen = Stopwatch(backbone.device, batch_size), {}
            for name, route in routers.items():
                with watch.measure("end_to_end", name):
                    routed = route(batch)
                seen.setdefault(name, []).append(routed)
            _pieces(watch, backbone, router, batch, looks)
            bar.advance(batch_size)
    answered = {name: join_routed(parts) for name, parts in seen.items()}
    return [_row(watch, stage, action, answered.get(action)) for stage, action in watch.milliseconds], answered


def _pieces(watch: Stopwatch, backbone: VLM, router: Router, items: Sequence[Item], looks: Sequence[Action]) -> None:
    """The text pass, then each action's pieces with the text pass behind it."""
    batch = backbone.builder.build(items, [])
    with watch.measure("text_pass", "no"):
        text = backbone.read(batch, Action.NO)
    for action in looks:
        state, looked = text, batch
        if action is not Action.NO:
            with watch.measure("prepare", action.label):
                looked = backbone.builder.build(items, [action])
            with watch.measure("prefill", action.label):
                state = backbone.read(looked, action, text)
        with watch.measure("decode", action.label):
            backbone.answer([Reading(looked, action, state)], router.decoding, router.seed)


def _row(watch: Stopwatch, stage: str, action: str, routed: Routed | None) -> ProfileRow:
    times = np.asarray(watch.milliseconds[stage, action])
    whole = routed if stage == "end_to_end" else None

    def mean(count: Callable[[Routed], Any]) -> float | None:
        return None if whole is None else float(np.mean(count(whole)))

    return ProfileRow(
        stage=stage,
        action=action,
        batch_size=watch.batch_size,
        num_samples=len(times) * watch.batch_size,
        latency_p50_ms=float(np.percentile(times, 50)),
        latency_p90_ms=float(np.percentile(times, 90)),
        latency_mean_ms=float(times.mean()),
        avg_vision_tokens=mean(lambda r: r.paid("vision_tokens")),
        avg_text_tokens=mean(
            lambda r: r.text_tokens + r.paid("prompt_tokens") - r.paid("reused_tokens") - r.paid("vision_tokens")
        ),
        avg_generated_tokens=mean(lambda r: r.paid("generated_tokens")),
        mem_peak_mb=watch.memory[stage, action],
    )


def as_rows(rows: Sequence[ProfileRow]) -> list[dict[str, Any]]:
    """Rows as they are written."""
    return [asdict(row) for row in rows]
