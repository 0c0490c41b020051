"""Phase 0 of the tiny backbone: the vision tower learns what stands where.

Public checkpoints start from a vision tower that has seen billions of captioned images. Ours sees scenes of
the mini sets' own makers (from a random stream of their own) and names, for each of its output tokens, the
character or shape and the colour that lies there: 64 answers an image instead of one. Without this the
language model has to find out at once where a word stands, how letters look and how to spell, and does not.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from experiments.tiny_backbone.optimizer import recipe_optimizer
from experiments.tiny_backbone.recipe import Recipe
from vovnet.actions import Action
from vovnet.data.mini import scenes
from vovnet.data.mini.canvas import COLORS, SHAPES, Canvas
from vovnet.files import write_bytes
from vovnet.training.order import StepLoader
from vovnet.training.step_module import StepModule
from vovnet.training.steps import fit_steps
from vovnet.training.trainer import Place, Plan
from vovnet.vlm.qwen.inputs import InputBuilder, Pixels
from vovnet.vlm.qwen.model import Backbone
from vovnet.vlm.qwen.vision import encode_images

STREAM = 7  # of random numbers: none that a data set is drawn from
NAMES = ("", *SHAPES, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
COLOR_NAMES = ("", *COLORS)
BACKGROUND_WEIGHT = 0.1  # most tokens show nothing
MAKERS = (
    scenes.objects, scenes.sign, scenes.sign, scenes.sign, scenes.digit, scenes.digit,
    scenes.lone_object, scenes.balls, scenes.dots, scenes.chart,
)  # fmt: skip

Labelled = tuple[Pixels, Tensor]  # images, and (name, color) classes of each token [T, 2]


class LabelledScenes:
    """Fresh scenes; the batch of a step is a function of the seed and the step."""

    def __init__(self, builder: InputBuilder, recipe: Recipe) -> None:
        self.builder, self.recipe = builder, recipe

    def __len__(self) -> int:
        return self.recipe.vision_steps

    def __getitem__(self, step: int) -> Labelled:
        if step >= len(self):
            raise IndexError(step)
        rng = np.random.default_rng([self.recipe.seed, STREAM, step])
        images, labels = [], []
        for _ in range(self.recipe.vision_batch_size):
            canvas = MAKERS[rng.integers(len(MAKERS))](rng).canvas
            picture = self.builder.pictures(canvas.image, [Action.FULL])[Action.FULL]
            grid, merge = self.builder.cut.grid(picture), self.builder.format.merge_size
            images.append(picture)
            labels.append(token_labels(canvas, grid[1] // merge, grid[2] // merge))
        rows = tuple((i,) for i in range(len(images)))
        return Pixels.of(images, rows, self.builder.cut), torch.from_numpy(np.concatenate(labels))


def token_labels(canvas: Canvas, rows: int, columns: int) -> np.ndarray:
    """(name, color) classes of each token in row-major order, int64 [rows * columns, 2].

    A token takes the class of what covers most of it; characters win over the board they stand on.
    """
    labels = np.zeros((rows, columns, 2), dtype=np.int64)
    covered = np.zeros((rows, columns))
    height, width = canvas.height / rows, canvas.width / columns
    for mark in canvas.marks:
        left, top, right, bottom = mark.box
        across = np.clip(
            np.minimum((np.arange(columns) + 1) * width, right) - np.maximum(np.arange(columns) * width, left), 0, None
        )
        down = np.clip(
            np.minimum((np.arange(rows) + 1) * height, bottom) - np.maximum(np.arange(rows) * height, top), 0, None
        )
        area = down[:, None] * across[None]
        if mark.color:
            labels[..., 1][area > 0.15 * min(width * height, area.max())] = COLOR_NAMES.index(mark.color)
        if mark.name:
            most = area > np.maximum(covered, 0.2 * min(width * height, area.max()))
            labels[..., 0][most] = NAMES.index(mark.name)
            covered = np.where(most, area, covered)
    return labels.reshape(-1, 2)


class TinyVisionModule(StepModule):
    """Per-token classification on top of the vision tower; the two linear heads are thrown away."""

    def __init__(self, backbone: Backbone, recipe: Recipe) -> None:
        super().__init__()
        self.visual = backbone.model.model.visual
        self.heads = nn.Linear(backbone.hidden_size, len(NAMES) + len(COLOR_NAMES))
        self.recipe = recipe

    def training_step(self, batch: Labelled, batch_idx: int) -> Tensor:
        """Cross-entropy of both classes."""
        loss, right = self._loss(batch)
        self.watch_loss("the loss of the vision tower", loss)
        self.log_dict({"train/token_loss": loss.detach(), "train/token_acc": right}, batch_size=len(batch[0].shapes))
        return loss

    def _loss(self, batch: Labelled) -> tuple[Tensor, Tensor]:
        pixels, labels = batch
        features, deepstack = encode_images(self.visual, pixels)
        labels = labels.to(features.device)
        name, color = self.heads(torch.stack([features, *deepstack]).mean(0)).split(
            [len(NAMES), len(COLOR_NAMES)], dim=-1
        )
        loss = _weighted(name, labels[:, 0]) + _weighted(color, labels[:, 1])
        shown = labels[:, 0] > 0
        return loss, (name.argmax(-1) == labels[:, 0])[shown].float().mean()

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser with a schedule of its own."""
        return recipe_optimizer(self, self.recipe, self.recipe.vision_steps)


def _weighted(logits: Tensor, labels: Tensor) -> Tensor:
    weight = torch.ones(logits.shape[-1], device=logits.device)
    weight[0] = BACKGROUND_WEIGHT
    return nn.functional.cross_entropy(logits, labels, weight=weight)


def recipe_plan(stage: str, steps: int, recipe: Recipe) -> Plan:
    """How the stages of the recipe run."""
    return Plan(
        stage=stage,
        steps=steps,
        save_every=recipe.save_every,
        validate_every=recipe.save_every,
        gradient_clip=recipe.gradient_clip,
        seed=recipe.seed,
    )


def pretrain_vision(backbone: Backbone, recipe: Recipe, folder: Path) -> None:
    """Train the vision tower on labelled scenes, once: a run that goes on later finds it done."""
    done = folder / "vision.safetensors"
    visual, device = backbone.model.model.visual, backbone.device
    if recipe.vision_steps and not done.exists():
        batches = StepLoader(LabelledScenes(backbone.builder, recipe), workers=recipe.num_workers)
        plan = recipe_plan("vision", recipe.vision_steps, recipe)
        fit_steps(TinyVisionModule(backbone, recipe), batches, plan, Place(folder / "vision", device))
        visual.to(device)  # Lightning leaves what it has trained on the CPU
        write_bytes(done, save({k: v.contiguous() for k, v in visual.state_dict().items()}))
    if done.exists():
        visual.load_state_dict(load_file(done))
