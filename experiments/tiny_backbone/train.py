"""Training the packaged tiny backbone from random weights.

Two things decide whether it learns shapes: the initialisation (see ``checkpoint``) and a first
phase in which only the image can answer, so that the vision tower is not starved by the text prior.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.tiny_backbone.batches import StepBatches, TrainingStep
from experiments.tiny_backbone.checkpoint import write_untrained
from experiments.tiny_backbone.optimizer import recipe_optimizer
from experiments.tiny_backbone.recipe import Recipe
from experiments.tiny_backbone.vision import pretrain_vision, recipe_plan
from experiments.tiny_backbone.words import WordHead
from vovnet.actions import USUAL, Action
from vovnet.data import VQADataset, item, load_dataset
from vovnet.data.mixture import split_groups
from vovnet.lightning_parts import quiet_lightning
from vovnet.outcomes.judge import Judge, make_judge
from vovnet.schema import BackboneConfig, RunConfig
from vovnet.training.order import StepLoader, as_it_is
from vovnet.training.step_module import StepModule
from vovnet.training.steps import fit_steps
from vovnet.training.trainable import save_folder, training_split, write_whole
from vovnet.training.trainer import Place
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.protocol import Batch, Decoding
from vovnet.vlm.qwen.loading import load_fast
from vovnet.vlm.qwen.model import Backbone

log = logging.getLogger(__name__)
VALIDATION_SAMPLES = 200  # of each set
DECODING = Decoding(max_new_tokens=10, num_beams=1, do_sample=False, temperature=1.0)
CACHE = 3 * 2**29  # bytes of prepared images: as many as there are, in all their flips


class TinyBackboneModule(StepModule):
    """Answer NLL under one branch per step; a short warm-up, then a cosine."""

    def __init__(self, backbone: Backbone, recipe: Recipe, total_steps: int, judge: Judge) -> None:
        super().__init__()
        self.backbone = backbone
        self.recipe = recipe
        self.total_steps = total_steps
        self.judge = judge
        self.words = WordHead(backbone, recipe.word_loss) if recipe.word_loss.weight else None

    def training_step(self, batch: TrainingStep, batch_idx: int) -> Tensor:
        """Mean NLL of the references under the step's branch, and the word loss of a middle layer."""
        inputs, action = batch.batch, batch.action
        lengths = torch.tensor([float(len(reference)) for reference in inputs.references], device=self.device)
        # Every token counts alike: a spelled word teaches more than a letter.
        loss = (self.backbone.training_nll(inputs, action) * lengths).sum() / lengths.sum()
        self.log(f"train/nll_{action.label}", loss.detach(), batch_size=len(inputs))
        if self.words is not None:
            word = self.words.loss(batch.words, max(map(len, inputs.references)))
            self.log("train/word", word.detach(), batch_size=len(inputs))
            loss = loss + self.recipe.word_loss.weight * word
        self.watch_loss("the loss of the backbone", loss)
        return loss

    def validation_step(self, batch: tuple[Batch, str], batch_idx: int) -> None:
        """Score of greedy answers of one set under every action."""
        inputs, name = batch
        text = self.backbone.text_pass(inputs)
        for action in USUAL:
            state = text if action is Action.NO else self.backbone.look(inputs, action, text)
            given = self.backbone.decode(state, DECODING, inputs, action)
            scores = [self.judge(index, g.final).value for index, g in zip(inputs.indices, given, strict=True)]
            self.log(f"val/{name}_{action.label}", sum(scores) / len(scores), batch_size=len(scores))

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedule."""
        return recipe_optimizer(self.backbone, self.recipe, self.total_steps)


def train_tiny_backbone(config: RunConfig, recipe: Recipe, folder: Path) -> Path:
    """Run the recipe in ``folder`` and return the checkpoint folder it leaves there.

    A run that was stopped goes on from its last saved step.
    """
    with threads(recipe.num_threads):
        return _train(config, recipe, folder)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads within it: sums are split among them, and round accordingly."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load(place: BackboneConfig, config: RunConfig) -> Backbone:
    return load_fast(place, config.vision_budget, True, None, find_checkpoint(place))


def _train(config: RunConfig, recipe: Recipe, folder: Path) -> Path:
    quiet_lightning()
    L.seed_everything(recipe.seed, verbose=False)
    dataset = load_dataset(config.dataset, "train")
    untrained, trained = folder / "untrained", folder / "checkpoint"
    seen = training_split(config)
    if not untrained.exists():
        texts = [item(dataset, i)[2] for i in range(len(dataset))]
        save_folder(untrained, lambda place: write_untrained(place, recipe.architecture, texts, recipe.seed))
    backbone = _load(_at(config.backbone, untrained), config)
    backbone.builder.kept.limit = CACHE
    backbone.requires_grad_(True).train()
    pretrain_vision(backbone, recipe, folder)

    groups = [dataset[i].group for i in range(len(dataset))]
    train_groups, val_groups = split_groups(groups, recipe.val_fraction, recipe.seed)
    batches = StepBatches(dataset, train_groups, backbone.builder, recipe)
    module = TinyBackboneModule(backbone, recipe, len(batches), make_judge(dataset))
    loader = StepLoader(batches, workers=recipe.num_workers)
    plan, place = recipe_plan("tiny", len(batches), recipe), Place(folder, backbone.device)
    fit_steps(module, loader, plan, place, _validation(dataset, val_groups, backbone))
    save_folder(
        trained, lambda place: write_whole(backbone, place, find_checkpoint(_at(config.backbone, untrained)), seen)
    )
    log.info("tiny backbone saved in %s", trained)
    return trained


def _validation(dataset: VQADataset, groups: set[str], backbone: Backbone) -> DataLoader[Any]:
    """Questions about held-out images, evenly taken from each set."""
    rows: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        if dataset[index].group in groups:
            rows.setdefault(dataset.member(index).name, []).append(index)
    batches = []
    for name, found in rows.items():
        even = found[:: max(1, len(found) // VALIDATION_SAMPLES)][:VALIDATION_SAMPLES]
        for start in range(0, len(even), 100):
            items = [item(dataset, i) for i in even[start : start + 100]]
            batches.append((backbone.builder.build(items, list(USUAL)), name))
    return DataLoader(batches, batch_size=None, collate_fn=as_it_is)  # type: ignore[arg-type]


def _at(config: BackboneConfig, folder: Path) -> BackboneConfig:
    from dataclasses import replace

    return replace(config, path=str(folder), packaged=False)
