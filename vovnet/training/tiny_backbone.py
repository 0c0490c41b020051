"""Training the packaged tiny backbone from random weights: ``+experiment=tiny_backbone``.

Two things decide whether it learns shapes: the initialisation (see ``tiny_checkpoint``) and a first
phase in which only the image can answer, so that the vision tower is not starved by the text prior.
"""

import logging
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vovnet.actions import Action
from vovnet.backbone.backbone import Backbone
from vovnet.backbone.decoding import Decoding
from vovnet.backbone.inputs import Batch
from vovnet.backbone.loading import load_backbone
from vovnet.data import VQADataset, load_dataset, prompt_text
from vovnet.files import whole_folder
from vovnet.schema import BackboneConfig, RunConfig, TinyBackboneTraining
from vovnet.training.quiet import quiet_lightning
from vovnet.training.split import split_groups
from vovnet.training.tiny_batches import StepBatches
from vovnet.training.tiny_checkpoint import write_untrained

log = logging.getLogger(__name__)
VALIDATION_SAMPLES = 600
CACHED_IMAGES = 40_000  # prepared images of 64 px: about 1.5 GB when all flips have been seen


class TinyBackboneModule(L.LightningModule):
    """Answer NLL under one branch per step; AdamW with a one-cycle schedule."""

    def __init__(self, backbone: Backbone, recipe: TinyBackboneTraining, total_steps: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.recipe = recipe
        self.total_steps = total_steps

    def training_step(self, batch: tuple[Batch, Action], batch_idx: int) -> Tensor:
        """Mean NLL of the references under the step's branch."""
        inputs, action = batch
        loss = self.backbone.training_nll(inputs, action).mean()
        self.log(f"train/nll_{action.label}", loss.detach(), batch_size=len(inputs))
        return loss

    def validation_step(self, batch: tuple[Batch, list[str]], batch_idx: int) -> None:
        """Exact-match accuracy of greedy answers under every action."""
        inputs, answers = batch
        decoding = Decoding(max_new_tokens=4, num_beams=1, do_sample=False, temperature=1.0)
        text = self.backbone.text_pass(inputs)
        for action in Action:
            state = text if action is Action.NO else self.backbone.look(inputs, action, text)
            given = self.backbone.decode(state, decoding, inputs, action)
            hits = [float(g.text == a) for g, a in zip(given, answers, strict=True)]
            self.log(f"val/acc_{action.label}", sum(hits) / len(hits), batch_size=len(hits))

    def configure_optimizers(self) -> Any:
        """AdamW; weight decay on matrices only."""
        decayed = [p for p in self.backbone.parameters() if p.ndim > 1]
        plain = [p for p in self.backbone.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=self.recipe.learning_rate,
            betas=(0.9, 0.98),
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.recipe.learning_rate,
            total_steps=self.total_steps,
            pct_start=self.recipe.warmup_fraction,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches stay as they are; the backbone moves what it needs."""
        return batch


def train_tiny_backbone(config: RunConfig, recipe: TinyBackboneTraining, folder: Path) -> Path:
    """Run the recipe in ``folder`` and return the checkpoint folder it leaves there.

    A run that was stopped goes on from its last saved step.
    """
    quiet_lightning()
    torch.set_num_threads(recipe.num_threads)
    L.seed_everything(recipe.seed, verbose=False)
    dataset = load_dataset(config.dataset, "train")
    untrained, trained = folder / "untrained", folder / "checkpoint"
    if not untrained.exists():
        texts = [t for i in range(len(dataset)) for t in (prompt_text(dataset, dataset[i]), dataset[i].answers[0])]
        whole_folder(untrained, lambda place: write_untrained(place, recipe.architecture, texts, recipe.seed))
    backbone = load_backbone(_at(config.backbone, untrained), config.vision_budget)
    backbone.builder.cache_size = CACHED_IMAGES
    backbone.requires_grad_(True).train()

    groups = [dataset[i].group for i in range(len(dataset))]
    train_groups, val_groups = split_groups(groups, recipe.val_fraction, recipe.seed)
    batches = StepBatches(dataset, train_groups, backbone.builder, recipe)
    module = TinyBackboneModule(backbone, recipe, len(batches))
    trainer = _trainer(recipe, folder, len(batches))
    last = folder / "steps" / "last.ckpt"
    trainer.fit(
        module,
        train_dataloaders=batches,
        val_dataloaders=_validation(dataset, val_groups, backbone),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )
    whole_folder(trained, lambda place: _save(backbone, place))
    log.info("tiny backbone saved in %s", trained)
    return trained


def _trainer(recipe: TinyBackboneTraining, folder: Path, steps: int) -> L.Trainer:
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        check_val_every_n_epoch=None,
        val_check_interval=recipe.save_every,
        gradient_clip_val=recipe.gradient_clip,
        callbacks=[
            ModelCheckpoint(folder / "steps", save_last=True, save_top_k=0, every_n_train_steps=recipe.save_every),
            StepLog(recipe.save_every),
        ],
        logger=CSVLogger(folder, name="", version="log"),
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


class StepLog(L.Callback):
    """One line per validation: step, accuracies, time left."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.start: tuple[float, int] | None = None

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember when and where this process began."""
        import time

        if self.start is None:
            self.start = (time.monotonic(), trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Print the line."""
        import time

        if self.start is None:
            return
        begun, first = self.start
        done = max(1, trainer.global_step - first)
        left = (time.monotonic() - begun) / done * (int(trainer.max_steps) - trainer.global_step)
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items()}
        shown = " ".join(f"{k}={v:.3f}" for k, v in sorted(metrics.items()))
        log.info("step %d/%d %s, about %.0f min left", trainer.global_step, trainer.max_steps, shown, left / 60)


def _validation(dataset: VQADataset, groups: set[str], backbone: Backbone) -> DataLoader[Any]:
    rows = [i for i in range(len(dataset)) if dataset[i].group in groups][:VALIDATION_SAMPLES]
    batches = []
    for start in range(0, len(rows), 100):
        part = rows[start : start + 100]
        items = [(i, dataset[i], prompt_text(dataset, dataset[i])) for i in part]
        batches.append((backbone.builder.build(items, list(Action)), [dataset[i].answers[0] for i in part]))
    return DataLoader(batches, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]


def _as_it_is(batch: Any) -> Any:
    return batch


def _at(config: BackboneConfig, folder: Path) -> BackboneConfig:
    from dataclasses import replace

    return replace(config, path=str(folder), packaged=False)


def _save(backbone: Backbone, folder: Path) -> None:
    backbone.model.save_pretrained(folder)
    backbone.builder.tokenizer.save_pretrained(folder)
    backbone.builder.image_processor.save_pretrained(folder)
