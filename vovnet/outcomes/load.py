"""Outcomes for decisions: read from the store, collected first where they are missing."""

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vovnet.actions import Action
from vovnet.backbone.files import Checkpoint
from vovnet.backbone.reading import reading_of
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.convert import branch_from_table, text_from_table
from vovnet.outcomes.keys import table_keys
from vovnet.outcomes.rows import Outcomes, no_text
from vovnet.outcomes.store import DamagedPart, OutcomeStore, Table
from vovnet.outcomes.variants import branch_budget, pruning_of
from vovnet.schema import BackboneConfig, RunConfig, VisionBudgetConfig

if TYPE_CHECKING:
    from vovnet.backbone.backbone import Backbone
    from vovnet.backbone.pruning import Pruning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Outcomes, and how many rows had to be computed for them, per branch."""

    outcomes: Outcomes
    computed: Mapping[str, int]


def load_outcomes(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    actions: tuple[Action, ...],
    count: int,
    with_text: bool = True,
) -> Loaded:
    """The first ``count`` samples' outcomes under ``actions``, and their text pass where it is needed.

    A warm call touches neither torch nor transformers: it maps the store's files and returns.
    """
    if config.eval.shard is not None or config.eval.num_shards > 1:
        raise VoVNetError("eval.num_shards and eval.shard are experiments.collect's; leave them out here.")
    tables = _tables(config, checkpoint, dataset, actions, with_text)
    computed = dict.fromkeys(tables, 0)
    damaged: set[str] = set()
    while True:
        for name, rows in collect_outcomes(config, checkpoint, dataset, actions, count, with_text).items():
            computed[name] += rows
        try:
            return Loaded(_read(tables, actions, count), computed)
        except DamagedPart as damage:  # set aside by the reader; its rows are missing now
            if damage.rows in damaged:  # computed anew, and damaged again
                raise
            damaged.add(damage.rows)
            log.warning("%s", damage)


def collect_outcomes(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    actions: tuple[Action, ...],
    count: int,
    with_text: bool = True,
) -> Mapping[str, int]:
    """Fill the store with what is missing of the first ``count`` samples, or of ``eval.shard`` of them.

    Returns:
        How many rows were computed, per branch.
    """
    tables = _tables(config, checkpoint, dataset, actions, with_text)
    if not any(table.missing((0, count)) for table in tables.values()):
        return dict.fromkeys(tables, 0)
    from vovnet.outcomes.collect import Collector  # imports torch

    collector = Collector(
        store=OutcomeStore(config.paths.store),
        tables=tables,
        dataset=dataset,
        options=config.eval,
        backbone=lambda: branch_backbone(config),
        note=_note(config.backbone, checkpoint),
        subject=table_keys(config, checkpoint, dataset, ())["text"].id.removeprefix("text-"),
    )
    return collector.fill(count).computed


def stored_outcomes(
    config: RunConfig, checkpoint: Checkpoint, dataset: VQADataset, actions: tuple[Action, ...], count: int
) -> Outcomes | None:
    """The same from what the store holds already, computing nothing; None where a row is missing or damaged."""
    tables = _tables(config, checkpoint, dataset, actions)
    try:
        return None if any(t.missing((0, count)) for t in tables.values()) else _read(tables, actions, count)
    except DamagedPart as damage:
        log.warning("%s", damage)
        return None


def _tables(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    actions: tuple[Action, ...],
    with_text: bool = True,
) -> Mapping[str, Table]:
    store = OutcomeStore(config.paths.store)
    keys = table_keys(config, checkpoint, dataset, actions)
    return {name: store.table(key) for name, key in keys.items() if with_text or name != "text"}


_READ: dict[tuple[object, ...], Outcomes] = {}  # the last ones: jobs of a sweep ask for the same again


def _read(tables: Mapping[str, Table], actions: tuple[Action, ...], count: int) -> Outcomes:
    """Stored outcomes, as they were read before where no part's file has changed since."""
    asked = (actions, count, *((name, table.state()) for name, table in tables.items()))
    if asked not in _READ:
        _READ.clear()  # first, or two would lie in memory
        _READ[asked] = _read_parts(tables, actions, count)
    return _READ[asked]


def _read_parts(tables: Mapping[str, Table], actions: tuple[Action, ...], count: int) -> Outcomes:
    text = tables.get("text")
    return Outcomes(
        text=no_text(count) if text is None else text_from_table(text.read(count), text.matrix("hidden", count)),
        branches={action: branch_from_table(tables[action.label].read(count)) for action in actions},
    )


_LOADED: "dict[tuple[BackboneConfig, VisionBudgetConfig, bool, Pruning | None], Backbone]" = {}


def branch_backbone(config: RunConfig) -> "Backbone":
    """The backbone as the configuration's branches need it."""
    return shared_backbone(config.backbone, branch_budget(config), config.eval.cache_reuse, pruning_of(config))


def shared_backbone(
    config: BackboneConfig, budget: VisionBudgetConfig, cache_reuse: bool, pruning: "Pruning | None" = None
) -> "Backbone":
    """The backbone, loaded once per process however many jobs of a sweep need it."""
    from vovnet.backbone.loading import load_backbone

    key = (config, budget, cache_reuse, pruning)
    if key not in _LOADED:
        _LOADED.clear()  # let go of the old one first: two may not fit into the device's memory
        log.info("loading backbone %s", config.path or config.name)
        _LOADED[key] = load_backbone(config, budget, cache_reuse, pruning)
    return _LOADED[key]


def _note(config: BackboneConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    import PIL
    import tokenizers
    import torch
    import transformers

    from vovnet.backbone.loading import pick_device

    reading = reading_of(config, checkpoint)
    used = pick_device(config.device)  # a CPU's collection leaves CUDA alone
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "pillow": PIL.__version__,
        "around the question": [reading.head, reading.tail],
        "cuda": torch.cuda.get_device_name(used) if used.type == "cuda" else None,
        "machine": platform.machine(),
    }
