"""Outcomes for decisions: read from the store, collected first where they are missing."""

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vovnet.actions import Action
from vovnet.backbone.files import Checkpoint
from vovnet.data import VQADataset
from vovnet.outcomes.convert import branch_from_table, text_from_table
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.rows import Outcomes
from vovnet.outcomes.store import DamagedPart, OutcomeStore, Table
from vovnet.schema import BackboneConfig, RunConfig, VisionBudgetConfig

if TYPE_CHECKING:
    from vovnet.backbone.backbone import Backbone

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Outcomes, and how many rows had to be computed for them, per branch."""

    outcomes: Outcomes
    computed: Mapping[str, int]


def load_outcomes(
    config: RunConfig, checkpoint: Checkpoint, dataset: VQADataset, actions: tuple[Action, ...], count: int
) -> Loaded:
    """The first ``count`` samples' outcomes under ``actions``.

    A warm call touches neither torch nor transformers: it maps the store's files and returns.
    """
    store = OutcomeStore(config.paths.store)
    keys = table_keys(config, checkpoint, dataset, actions)
    tables = {name: store.table(key) for name, key in keys.items()}
    computed = dict.fromkeys(tables, 0)
    while True:
        if any(table.missing((0, count)) for table in tables.values()):
            for name, rows in _collect(config, store, tables, dataset, count).items():
                computed[name] += rows
        try:
            return Loaded(_read(tables, actions, count), computed)
        except DamagedPart as damage:  # set aside by the reader; its rows are missing now
            log.warning("%s", damage)


def _read(tables: Mapping[str, Table], actions: tuple[Action, ...], count: int) -> Outcomes:
    return Outcomes(
        text=text_from_table(tables["text"].read(count)),
        branches={action: branch_from_table(tables[action.label].read(count)) for action in actions},
    )


def _collect(
    config: RunConfig, store: OutcomeStore, tables: Mapping[str, Table], dataset: VQADataset, count: int
) -> Mapping[str, int]:
    from vovnet.outcomes.collect import Collector  # imports torch

    collector = Collector(
        store=store,
        tables=tables,
        dataset=dataset,
        options=config.eval,
        backbone=lambda: shared_backbone(config.backbone, config.vision_budget, config.eval.cache_reuse),
        note=_note(),
    )
    return collector.fill(count).computed


@lru_cache(maxsize=1)
def shared_backbone(config: BackboneConfig, budget: VisionBudgetConfig, cache_reuse: bool) -> "Backbone":
    """The backbone, loaded once per process however many jobs of a sweep need it."""
    from vovnet.backbone.loading import load_backbone

    log.info("loading backbone %s", config.path or config.name)
    return load_backbone(config, budget, cache_reuse)


def _note() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "machine": platform.machine(),
    }
