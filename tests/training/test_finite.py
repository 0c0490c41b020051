"""A loss that is NaN or infinite is refused before it changes a weight, and no GPU waits for the question."""

import pytest
import torch
from torch import Tensor

from vovnet.errors import VoVNetError
from vovnet.training.step_module import FiniteWatch

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


def which(finite: Tensor) -> VoVNetError:
    return VoVNetError(f"{finite.tolist()}")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_it_is_refused_by_name(device: str, bad: float) -> None:
    watch = FiniteWatch()

    def step() -> None:
        watch.watch(torch.tensor([1.0, bad], device=device, requires_grad=True), which)
        watch.check()

    with pytest.raises(VoVNetError, match=r"\[True, False\]"):
        step()
    watch.check()  # said once


@pytest.mark.parametrize("device", DEVICES)
def test_finite_values_pass(device: str) -> None:
    watch = FiniteWatch()
    watch.watch(torch.zeros(3, device=device), which)
    watch.check()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_gpu_waits_for_the_question() -> None:
    watch, values = FiniteWatch(), torch.zeros(3, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        watch.watch(values, which)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    watch.check()
