"""The training split in two parts that share no image, and its questions as batches by their step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vovnet.actions import Action
from vovnet.data import Item, VQADataset, item, load_dataset
from vovnet.data.leaks import enforce, held_out, leak_report
from vovnet.data.mixture import split_rows
from vovnet.errors import VoVNetError
from vovnet.outcomes.ahead import build_batch
from vovnet.ranks import rank, world_size
from vovnet.schema import BackboneTraining, PolicyTraining, RunConfig
from vovnet.session import Session
from vovnet.terminal import counted
from vovnet.training.order import StepOrder, even_parts
from vovnet.vlm.protocol import Batch, Builder


@dataclass(frozen=True)
class TrainingData:
    """What both stages learn from.

    Attributes:
        dataset: the training split.
        train, val: rows of it.
        leaks: what the leak guard found, per evaluation split.
    """

    dataset: VQADataset
    train: np.ndarray
    val: np.ndarray
    leaks: list[dict[str, Any]]

    @property
    def count(self) -> int:
        """Questions of both parts."""
        return len(self.train) + len(self.val)


def training_data(config: RunConfig, training: PolicyTraining, session: Session | None = None) -> TrainingData:
    """Read the training split, look for leaks and hold out whole images for validation.

    Raises:
        VoVNetError: an evaluation sample is in the training data, or one of the parts is empty.
    """
    dataset = load_dataset(config.dataset, "train", session=session)
    reports = [leak_report(dataset, test, Path(config.paths.data)) for test in held_out(config.dataset, session)]
    leaks = enforce(reports, config.leaks)
    groups, is_val = split_rows(dataset, training.max_samples, training.val_fraction, training.seed)
    data = TrainingData(dataset, np.flatnonzero(~is_val), np.flatnonzero(is_val), leaks)
    if not len(data.train) or not len(data.val):
        raise VoVNetError(
            f"{counted(len(groups), 'question')} about {counted(len(set(groups)), 'image')} leave nothing "
            "to train on or to validate with; "
            "raise training.max_samples."
        )
    return data


@dataclass(frozen=True)
class MicroBatches:
    """How an optimiser step of questions is divided among ranks and in time.

    Attributes:
        order: the steps.
        size: questions at once on one device.
    """

    order: StepOrder
    size: int

    @property
    def accumulate(self) -> int:
        """Micro-batches an optimiser step on each rank."""
        return self.order.batch_size // (self.size * world_size())

    def place(self, number: int) -> tuple[int, slice]:
        """The optimiser step of this rank's micro-batch, and which of its rows."""
        step, part = divmod(number, self.accumulate)
        begin = (part * world_size() + rank()) * self.size
        return step, slice(begin, begin + self.size)


def micro_batches(rows: np.ndarray, options: BackboneTraining, seed: int) -> MicroBatches:
    """Divide shuffled rows into optimiser steps and micro-batches; an epoch's incomplete last step is left out.

    Raises:
        VoVNetError: fewer rows than a step, or the ranks do not divide a step.
    """
    whole, part = options.batch_size, options.micro_batch_size * world_size()
    if whole % part:
        raise VoVNetError(
            f"training.backbone.batch_size={whole} is no multiple of micro_batch_size={options.micro_batch_size} times "
            f"{world_size()} devices; change one of them."
        )
    if len(rows) < whole:
        raise VoVNetError(
            f"{len(rows)} training questions do not fill one step; lower training.backbone.batch_size={whole}."
        )
    return MicroBatches(StepOrder(rows, whole, seed, keep_rest=False), options.micro_batch_size)


@dataclass(frozen=True)
class QuestionBatches(Dataset[Batch | VoVNetError]):
    """Prepared training batches under one action, by the number of the micro-batch."""

    dataset: VQADataset
    builder: Builder
    micro: MicroBatches
    action: Action
    steps: int  # optimiser steps

    def __len__(self) -> int:
        return self.steps * self.micro.accumulate

    def __getitem__(self, number: int) -> Batch:
        step, part = self.micro.place(number)
        return build_batch(self.dataset, self.builder, self.micro.order.step(step)[part].tolist(), [self.action])


@dataclass(frozen=True)
class LiveBatch:
    """Questions whose branches the module runs itself.

    Attributes:
        items: index, sample and prompt text of each.
        noise: Gumbel noise [B, A] of straight-through training; validation needs none.
    """

    items: list[Item]
    noise: Tensor | None


@dataclass(frozen=True)
class LiveBatches:
    """Live training batches by the number of the micro-batch."""

    dataset: VQADataset
    micro: MicroBatches
    actions: int
    steps: int  # optimiser steps

    def __len__(self) -> int:
        return self.steps * self.micro.accumulate

    def __getitem__(self, number: int) -> LiveBatch:
        step, part = self.micro.place(number)
        noise = torch.from_numpy(self.micro.order.gumbel(step, self.actions)[part])
        return LiveBatch([item(self.dataset, i) for i in self.micro.order.step(step)[part].tolist()], noise)


def validation_rows(rows: np.ndarray, most: int, batch_size: int) -> list[list[int]]:
    """This rank's batches of at most ``most`` validation rows, evenly taken."""
    even = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    return [part.tolist() for part in even_parts(even, batch_size, rank(), world_size()) if len(part)]
