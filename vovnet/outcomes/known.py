"""What every look yields on the questions of a split, for programs and for policies that learn from it."""

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from vovnet.actions import Action, usual_or
from vovnet.data import Sample, VQADataset, load_dataset
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.rows import Outcomes as Rows
from vovnet.outcomes.transfer import frame_of
from vovnet.outcomes.units import paid_each, unit_of
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.files import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Outcomes:
    """What every look yields for each of N questions of one split.

    Attributes:
        config: under which they were collected.
        dataset: the whole split, of which these are the first N questions.
        rows: columns by look, and of the text pass.
        looks: NO, COARSE and FULL, or those of the configuration's own menu, A of them.
        costs: normalised cost of each look, [N, A]; 1 is a maximal FULL image.
    """

    config: RunConfig
    dataset: VQADataset
    checkpoint: Checkpoint
    rows: Rows
    looks: tuple[Action, ...]
    costs: np.ndarray
    session: Session = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def samples(self) -> list[Sample]:
        """The questions, [N]."""
        return [self.dataset[row] for row in range(len(self))]

    @property
    def scores(self) -> np.ndarray:
        """Correctness of each look in [0, 1], [N, A]."""
        return self.rows.stacked("score", self.looks)

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """Decoded answers by look, each [N]."""
        return {action.label: branch.prediction for action, branch in self.rows.branches.items()}

    def to_pandas(self) -> "pd.DataFrame":
        """One line per question and look, the columns of ``experiments/outcomes.md``; without hidden states."""
        return frame_of(self.rows, self.dataset, self.checkpoint.engine or f"vovnet {version('vovnet')}")


def known_outcomes(config: RunConfig, session: Session) -> Outcomes:
    """The outcomes of ``eval.split`` under a configuration, collected first where they are missing."""
    checkpoint = find_checkpoint(config.backbone, session=session)
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    looks = usual_or(config.menu) if checkpoint.engine is None else config.menu
    rows = load_outcomes(config, checkpoint, dataset, looks, count, session=session, any_price=True).outcomes
    costs = paid_each(unit_of(config, checkpoint, looks), rows, looks)
    return Outcomes(config, dataset, checkpoint, rows, looks, costs, session)
