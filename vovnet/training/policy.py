"""Stage 2: train the policy head on the training split's outcomes."""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from vovnet.actions import ACTION_SPACES
from vovnet.backbone.files import Checkpoint, find_checkpoint
from vovnet.data import VQADataset, item, load_dataset
from vovnet.data.leaks import enforce, held_out, leak_report
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.rows import Outcomes
from vovnet.policy.checkpoint import FILE_NAME, make_card, save_policy
from vovnet.policy.features import feature_width, features
from vovnet.policy.head import PolicyHead
from vovnet.policy.objective import OutcomeBatch
from vovnet.policy.policies import FixedPolicy
from vovnet.policy.route import make_router
from vovnet.schema import PolicyTraining, RunConfig
from vovnet.training.module import VoVNetModule
from vovnet.training.quiet import quiet_lightning
from vovnet.training.split import split_groups

log = logging.getLogger(__name__)
STANDARDISE_BATCHES = 8  # shuffled batches whose features set mean and scale in live training


@dataclass(frozen=True)
class Trained:
    """What a policy training leaves behind.

    Attributes:
        path: the policy file.
        metrics: validation metrics of the kept epoch.
        computed: outcome rows that had to be computed first, per branch.
        samples: training and validation questions.
        dataset: the training split.
        leaks: what the leak guard found, per evaluation split.
    """

    path: Path
    metrics: dict[str, float]
    computed: dict[str, int]
    samples: tuple[int, int]
    dataset: VQADataset
    leaks: list[dict[str, Any]]


def train_policy(config: RunConfig, training: PolicyTraining, folder: Path) -> Trained:
    """Train the head in ``folder`` and write the best epoch's policy file there."""
    quiet_lightning()
    checkpoint = find_checkpoint(config.backbone)
    dataset = load_dataset(config.dataset, "train")
    reports = [leak_report(dataset, test, Path(config.paths.data)) for test in held_out(config.dataset)]
    leaks = enforce(reports, config.leaks)
    count = min(len(dataset), training.max_samples or len(dataset))
    groups = [dataset[i].group for i in range(count)]
    _, apart = split_groups(groups, training.val_fraction, training.seed)
    is_val = np.array([group in apart for group in groups])
    rows = (np.flatnonzero(~is_val), np.flatnonzero(is_val))
    if not len(rows[0]) or not len(rows[1]):
        raise VoVNetError(
            f"{count} questions about {len(set(groups))} images leave nothing to train on or to validate with; "
            "raise training.max_samples."
        )

    computed: dict[str, int] = {}
    if training.live:
        module, loaders = _live(config, training, dataset, rows)
    else:
        actions = ACTION_SPACES[config.policy.action_space]
        loaded = load_outcomes(config, checkpoint, dataset, actions, count)
        computed = dict(loaded.computed)
        module, loaders = _stored(config, training, loaded.outcomes, checkpoint, rows)

    best = _fit(module, loaders, training, config, folder)
    path = folder / FILE_NAME
    card = make_card(config, checkpoint, len(module.head.mean), dataset.fingerprint)
    save_policy(path, module.head, card)
    return Trained(path, best, computed, (len(rows[0]), len(rows[1])), dataset, leaks)


Loaders = tuple[Any, Any]
Rows = tuple[np.ndarray, np.ndarray]  # training and validation rows


def _stored(
    config: RunConfig, training: PolicyTraining, outcomes: Outcomes, checkpoint: Checkpoint, rows: Rows
) -> tuple[VoVNetModule, Loaders]:
    """Module and loaders over stored outcomes: everything the head needs, as tensors in memory."""
    actions = ACTION_SPACES[config.policy.action_space]
    columns = {name: torch.from_numpy(outcomes.stacked(name, actions)).float() for name in ("score", "nll")}
    tokens = outcomes.stacked("vision_tokens", actions) / _max_tokens(config, checkpoint)
    everything = OutcomeBatch(
        features=torch.from_numpy(features(outcomes.text, config.policy.feature_mode)),
        cost=torch.from_numpy(tokens).float(),
        **columns,
    )
    head = _new_head(config, everything.features.shape[1])
    head.standardise(everything.features[torch.from_numpy(rows[0])])
    loaders = (
        OutcomeBatches(everything, rows[0], training.batch_size, shuffle_seed=training.seed),
        OutcomeBatches(everything, rows[1], max(1, len(rows[1])), shuffle_seed=None),
    )
    return VoVNetModule(head, config.policy, training), loaders


def _live(config: RunConfig, training: PolicyTraining, dataset: VQADataset, rows: Rows) -> tuple[VoVNetModule, Loaders]:
    """Module and loaders that run the branches in every step."""
    router = make_router(config, dataset, FixedPolicy(ACTION_SPACES[config.policy.action_space]))
    width = feature_width(config.policy.feature_mode, router.backbone.hidden_size)
    module = VoVNetModule(_new_head(config, width), config.policy, training, router)
    generator = torch.Generator().manual_seed(training.seed)

    def loader(part: np.ndarray, shuffle: bool) -> DataLoader[Any]:
        items = [item(dataset, i) for i in part.tolist()]
        return DataLoader(
            items,  # type: ignore[arg-type]
            batch_size=min(training.batch_size, config.eval.batch_size),
            shuffle=shuffle,
            generator=generator,
            collate_fn=list,
        )

    with torch.no_grad():
        some = itertools.islice(loader(rows[0], shuffle=True), STANDARDISE_BATCHES)
        module.head.standardise(torch.cat([module.live_outcomes(items).features for items in some]))
    return module, (loader(rows[0], shuffle=True), loader(rows[1], shuffle=False))


def _fit(
    module: VoVNetModule, loaders: Loaders, training: PolicyTraining, config: RunConfig, folder: Path
) -> dict[str, float]:
    """Run Lightning, put the best epoch's weights into the head, return that epoch's metrics."""
    # `value` is judged by its scoring rule, which needs no lambda; `mixture` by what it is trained for.
    monitor, mode = ("val/loss", "min") if config.policy.objective.name == "value" else ("val/utility", "max")
    keeper = ModelCheckpoint(
        folder / "steps", filename="best", monitor=monitor, mode=mode, enable_version_counter=False
    )
    best = BestMetrics(monitor, mode)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=training.epochs,
        callbacks=[best, keeper],
        logger=CSVLogger(folder, name="", version="log"),
        log_every_n_steps=max(1, min(20, len(loaders[0]))),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, *loaders)
    state = torch.load(keeper.best_model_path, weights_only=True)["state_dict"]
    module.load_state_dict(state)
    return best.metrics


class BestMetrics(L.Callback):
    """Validation metrics of the best epoch so far."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.sign = monitor, 1.0 if mode == "max" else -1.0
        self.metrics: dict[str, float] = {}

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keep an epoch's metrics when they are better."""
        now = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if not self.metrics or self.sign * now[self.monitor] > self.sign * self.metrics[self.monitor]:
            self.metrics = now | {"epoch": float(trainer.current_epoch)}


class OutcomeBatches:
    """Batches by tensor indexing; a per-sample loader would cost more than the training."""

    def __init__(self, outcomes: OutcomeBatch, rows: np.ndarray, batch_size: int, shuffle_seed: int | None) -> None:
        self.outcomes = outcomes
        self.rows = torch.from_numpy(rows)
        self.batch_size = batch_size
        self.generator = None if shuffle_seed is None else torch.Generator().manual_seed(shuffle_seed)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[OutcomeBatch]:
        rows = self.rows
        if self.generator is not None:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        for start in range(0, len(rows), self.batch_size):
            part = rows[start : start + self.batch_size]
            yield OutcomeBatch(*(getattr(self.outcomes, f)[part] for f in ("features", "score", "nll", "cost")))


def _new_head(config: RunConfig, width: int) -> PolicyHead:
    """A fresh head. Seeds here and not earlier: collecting outcomes draws from the same generators, so
    a training that had to collect first would otherwise differ from one that found them."""
    L.seed_everything(config.training.seed, verbose=False)
    actions = len(ACTION_SPACES[config.policy.action_space])
    return PolicyHead(width, config.policy.hidden_size, actions, config.policy.objective.name == "value")


def _max_tokens(config: RunConfig, checkpoint: Checkpoint) -> int:
    from vovnet.backbone.budget import make_budget

    return make_budget(config.vision_budget, checkpoint.patch_size, checkpoint.merge_size).max_tokens
