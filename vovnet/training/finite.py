"""Refusing NaN and infinity in a training step without making a GPU wait."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vovnet.errors import VoVNetError

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
