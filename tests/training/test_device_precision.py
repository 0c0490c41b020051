"""A training runs in the precision that it was asked for, or not at all."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from vovnet.errors import VoVNetError
from vovnet.schema import Precision
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
