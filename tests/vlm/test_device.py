"""How many threads prepare images."""

import pytest
import torch

from vovnet.ranks import JOBS_AT_ONCE
from vovnet.vlm import device
from vovnet.vlm.device import threads_of

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.mark.parametrize(
    ("cores", "jobs", "ranks", "threads"),
    [(16, 1, 1, 8), (16, 2, 1, 7), (16, 4, 1, 3), (16, 1, 4, 3), (4, 1, 1, 3), (1, 1, 1, 1), (8, 8, 8, 1)],
)
def test_a_gpu_has_as_many_as_there_are_cores_for_it(
    monkeypatch: pytest.MonkeyPatch, cores: int, jobs: int, ranks: int, threads: int
) -> None:
    monkeypatch.setattr(device, "cores", lambda: cores)
    monkeypatch.setenv(JOBS_AT_ONCE, str(jobs))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    assert threads_of("auto", GPU) == threads


def test_a_cpu_has_none_unless_asked() -> None:
    assert threads_of("auto", CPU) == 0
    assert threads_of(3, CPU) == threads_of(3, GPU) == 3
