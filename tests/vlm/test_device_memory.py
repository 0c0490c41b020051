"""Peak memory of this process, where no GPU counts it."""

import sys

import numpy as np
import pytest
import torch

from vovnet.vlm import device
from vovnet.vlm.device import peak_mb, reset_peak

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux starts a new count")
def test_the_peak_is_of_the_work_since_it_was_reset() -> None:
    reset_peak(CPU)
    before = peak_mb(CPU)
    block = np.ones(25 * 2**20)  # 200 MB
    during = peak_mb(CPU)
    del block
    assert 190 < during - before < 300
    assert peak_mb(CPU) == pytest.approx(during, abs=5)  # the kernel counts pages per core
    reset_peak(CPU)
    assert peak_mb(CPU) < during - 150


def test_without_proc_it_is_the_peak_since_the_process_began(monkeypatch: pytest.MonkeyPatch) -> None:
    known = peak_mb(CPU)
    for name in ("STATUS", "CLEAR"):
        monkeypatch.setattr(device, name, device.STATUS / "nowhere")
    reset_peak(CPU)
    assert peak_mb(CPU) >= known - 5
