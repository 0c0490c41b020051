"""A training runs in the precision that it was asked for, or not at all."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from vovnet.errors import VoVNetError
from vovnet.schema import Precision
from vovnet.training.step_module import StepModule
from vovnet.training.trainer import Place, Plan, make_trainer


@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_cpu_trains_in_the_asked_precision_or_refuses(precision: Precision, tmp_path: Path) -> None:
    plan = Plan("stage1", 1, 1, 1, 1.0, seed=0, precision=precision)
    place = Place(tmp_path, torch.device("cpu"))
    if precision == "16-mixed":
        with pytest.raises(VoVNetError, match=r"precision=16-mixed .* set it to bf16-mixed or 32-true"):
            make_trainer(plan, place, [], [], validate=False)
    else:
        assert make_trainer(plan, place, [], [], validate=False).precision == precision


class Rotary(nn.Module):
    """Frequencies as transformers keeps them: a buffer that no file holds."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 1e4 ** -torch.linspace(0, 1, 16), persistent=False)


class Positions(StepModule):
    def __init__(self) -> None:
        super().__init__()
        self.rotary, self.weight = Rotary(), nn.Parameter(torch.ones(3))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.weight.float().sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_pure_bfloat16_leaves_rotary_frequencies_as_they_were_loaded(tmp_path: Path) -> None:
    """Lightning casts every buffer; a model trained so would have other positions than the one that is loaded later."""
    module, loaded = Positions(), Rotary().inv_freq
    plan = Plan("stage1", 1, 1, 1, 0.0, seed=0, precision="bf16-true")
    trainer = make_trainer(plan, Place(tmp_path, torch.device("cpu")), [], [], validate=False)
    trainer.fit(module, torch.utils.data.DataLoader([0]))
    assert module.weight.dtype == torch.bfloat16
    assert torch.equal(module.rotary.inv_freq, loaded)
    assert module.rotary.inv_freq.dtype == torch.float32
