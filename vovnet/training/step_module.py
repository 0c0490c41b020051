"""What the LightningModules of both stages share: small checkpoints, finite losses, one learning rate a part."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vovnet.errors import VoVNetError
from vovnet.schema import Schedule
from vovnet.training.sharding import clip_norm, kinds, shard

Refusal = Callable[[Tensor], VoVNetError]  # which values are finite, bool -> what to say


@dataclass
class FiniteWatch:
    """Asks whether losses are finite once the work behind them is under way.

    To ask at once would keep a GPU idle in every step: the backward pass is launched only after the forward pass has
    ended. ``watch`` sends the answer to the host, and ``check``, called after the backward pass was launched and before
    weights change, waits for the forward pass alone. On the CPU there is nothing to wait for, and ``watch`` asks.
    """

    _sent: list[tuple[Tensor, torch.cuda.Event, Refusal]] = field(default_factory=list)

    def watch(self, value: Tensor, refusal: Refusal) -> None:
        """Ask about values.

        Raises:
            VoVNetError: on the CPU, where one is NaN or infinite.
        """
        finite = torch.isfinite(value.detach())
        if not finite.is_cuda:
            _refuse(finite, refusal)
            return
        answer = torch.empty(finite.shape, dtype=torch.bool, pin_memory=True)
        answer.copy_(finite, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(finite.device))
        self._sent.append((answer, event, refusal))

    def check(self) -> None:
        """Take the answers.

        Raises:
            VoVNetError: a watched value was NaN or infinite.
        """
        sent, self._sent = self._sent, []
        for answer, event, refusal in sent:
            event.synchronize()
            _refuse(answer, refusal)


def _refuse(finite: Tensor, refusal: Refusal) -> None:
    """Raise what ``refusal`` says where not all values are finite."""
    if not bool(finite.all()):
        raise refusal(finite)


class StepModule(L.LightningModule):
    """Saves trained weights only: a frozen backbone of 16 GB has no business in a checkpoint."""

    strict_loading = False  # frozen weights are missing on purpose; trained ones are asked for below

    def __init__(self) -> None:
        super().__init__()
        self.finite = FiniteWatch()
        self._computed: dict[str, torch.Tensor] = {}  # buffers that no file holds

    def setup(self, stage: str) -> None:
        """Note the buffers that are computed from a configuration, rotary frequencies above all."""
        stored = self.state_dict().keys()
        self._computed = {name: buffer for name, buffer in self.named_buffers() if name not in stored}

    def on_fit_start(self) -> None:
        """Put the noted buffers back in their own type.

        Under precision=bf16-true Lightning 2.6 casts buffers too, while transformers 5.23 keeps rotary frequencies in
        float32 whatever type it loads: rounded, they turn by up to 3.5 radians too far at position 8,000.
        """
        for name, buffer in self._computed.items():
            owner, _, own = name.rpartition(".")
            setattr(self.get_submodule(owner), own, buffer.to(self.device))

    def watch_loss(self, name: str, loss: torch.Tensor) -> None:
        """Refuse a loss that is NaN or infinite, at the latest after the backward pass."""
        step = self.global_step
        self.finite.watch(
            loss, lambda _: VoVNetError(f"{name} became NaN or infinite at step {step}; lower training.learning_rate.")
        )

    def on_after_backward(self) -> None:
        """Refuse what was NaN or infinite before weights change."""
        self.finite.check()

    def trained_names(self) -> set[str]:
        """Names of the trained weights and of the buffers beside them in the same layer."""
        names = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        layers = {name.rpartition(".")[0] for name in names} | {name.partition(".")[0] for name in names}
        return names | {name for name, _ in self.named_buffers() if name.rpartition(".")[0] in layers}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out."""
        kept = self.trained_names()
        checkpoint["state_dict"] = {n: t for n, t in checkpoint["state_dict"].items() if n in kept}

    def check_fits(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Refuse a checkpoint that lacks trained weights; loading is not strict and would not say so."""
        own = dict(self.state_dict())
        for name in sorted(self.trained_names()):
            if name not in saved or saved[name].shape != own[name].shape:
                found = "nothing" if name not in saved else f"shape {tuple(saved[name].shape)}"
                raise VoVNetError(
                    f"the checkpoint holds {found} for {name} of shape {tuple(own[name].shape)}: it belongs to another "
                    "configuration; remove the run's folder or name another by hydra.run.dir."
                )

    def configure_model(self) -> None:
        """Spread the weights where the strategy asks for it; the other strategies have no mesh."""
        if self.device_mesh is not None and not self.is_sharded():
            shard(self, self.device_mesh["data_parallel"])

    def is_sharded(self) -> bool:
        """Whether weights are spread over the ranks. Asked in every step: without a mesh no weight is looked at."""
        return self.device_mesh is not None and any(isinstance(parameter, DTensor) for parameter in self.parameters())

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """By norm, also where some gradients are spread."""
        if self.is_sharded() and gradient_clip_val:
            clip_norm(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def log_now_and_then(self, name: str, value: torch.Tensor, batch_size: int) -> None:
        """Log a training metric in the steps that the loggers take; in the others logging costs as much as the step."""
        if not self.loggers:  # a step by itself has nobody to tell
            return
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (self.global_step + 1) % every == 0:
            self.log(name, value, batch_size=batch_size)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches stay as they are; the backbone moves what it needs."""
        return batch


def adamw(
    parts: Mapping[nn.Module, tuple[float, float]],
    schedule: Schedule,
    warmup_fraction: float,
    steps: int,
    fused: bool = False,
) -> dict[str, Any]:
    """AdamW over the trained weights of some parts, each with (learning rate, weight decay), and its schedule.

    ``fused`` is one loop over a tensor instead of ten; not for float16, whose scaled gradients Lightning then does
    not clip.
    """
    groups = [
        {"params": kind, "lr": rate, "weight_decay": decay}
        for part, (rate, decay) in parts.items()
        for kind in kinds(p for p in part.parameters() if p.requires_grad)
    ]
    optimizer = torch.optim.AdamW(groups, fused=fused)
    result: dict[str, Any] = scheduled(optimizer, schedule, round(warmup_fraction * steps), steps)
    return result


def scheduled(optimizer: Optimizer, schedule: Schedule, warmup_steps: int, steps: int, floor: float = 0.0) -> Any:
    """An optimiser with a schedule that is stepped once per optimiser step, as Lightning takes them.

    A linear warm-up, then constant, or a line or half a cosine down to ``floor`` of the rate.
    """
    scheduler = LambdaLR(
        optimizer, partial(rate, schedule=schedule, warmup_steps=warmup_steps, steps=steps, floor=floor)
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def rate(step: int, schedule: Schedule, warmup_steps: int, steps: int, floor: float) -> float:
    """Share of the full learning rate at an optimiser step."""
    rising = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    gone = min(1.0, max(0.0, (step - warmup_steps) / max(1, steps - warmup_steps)))
    left = {"constant": 1.0, "linear": 1.0 - gone, "cosine": 0.5 * (1 + math.cos(math.pi * gone))}[schedule]
    return rising * (floor + (1.0 - floor) * left)
