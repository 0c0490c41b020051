"""Outcomes for decisions: read from the store, collected first where they are missing."""

import logging
import platform
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.garbage import uncollected
from vovnet.outcomes.asked import Asked, Together, together
from vovnet.outcomes.keys import imported_rows, table_keys
from vovnet.outcomes.looks import branch_budget, pruning_of
from vovnet.outcomes.parts import DamagedPart
from vovnet.outcomes.rows import Outcomes
from vovnet.outcomes.store import TEXT, OutcomeStore
from vovnet.outcomes.tables import KEPT, Tables
from vovnet.schema import BackboneConfig, RunConfig, VisionBudgetConfig
from vovnet.session import Session
from vovnet.terminal import counted
from vovnet.vlm.budget import budget_of
from vovnet.vlm.facts import remember_loaded
from vovnet.vlm.files import Checkpoint, find_checkpoint
from vovnet.vlm.reading import reading_of

if TYPE_CHECKING:
    from vovnet.vlm.protocol import VLM
    from vovnet.vlm.pruning import Pruning

log = logging.getLogger(__name__)
T = TypeVar("T")
REPAIRS = 3  # of the same rows
MEASURED = 32  # questions whose images tell what a look costs


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
    session: Session | None = None,
    any_price: bool = False,
    with_nll: bool = False,
    states: Collection[Action] = (),
    others: Callable[[], Sequence[Asked]] = tuple,
) -> Loaded:
    """The first ``count`` samples' outcomes under ``actions``, and their text pass where it is needed.

    A warm call touches neither torch nor transformers: it maps the store's files and returns. In one session the same
    tables give the same object. Answers that the configured scorer has not judged yet are judged, without a model.

    Args:
        any_price, with_nll, states: as ``Asked`` says.
        others: what is collected in the same pass where rows are missing; its rows count as computed for the first
            call of the session that asks for them.

    Raises:
        VoVNetError: a part of the store is damaged again and again, or cannot be read or written, or the model cannot
            take a look.
    """
    session = session or Session()
    if config.eval.shard is not None or config.eval.num_shards > 1:
        raise VoVNetError("eval.num_shards and eval.shard are experiments.collect's; leave them out here.")
    asked = Asked(config, actions, with_text, with_nll, states, any_price)
    asked.check(checkpoint)
    tables, ahead = asked.tables(checkpoint, dataset), _collected_ahead(session)
    computed = {name: ahead.pop(str(table.folder), 0) for name, table in tables.collected.items()}

    def collected() -> Outcomes:
        _fill(asked, checkpoint, dataset, tables, count, computed, session, others)
        return tables.outcomes(actions, count, session)

    outcomes = session.once("outcomes", (tables.ids, count), lambda: _with_repairs(collected), KEPT)
    return Loaded(outcomes, computed)


def _collected_ahead(session: Session) -> dict[str, int]:
    """Rows by table that a call has had computed for others."""
    return session.once("collected ahead", "", dict)


def collect_outcomes(
    asked: Asked, checkpoint: Checkpoint, dataset: VQADataset, count: int, session: Session | None = None
) -> Mapping[str, int]:
    """Fill the store with what is missing of the first ``count`` samples, or of ``eval.shard`` of them, and judge it.

    Returns:
        How many rows were computed, per branch.
    """
    asked.check(checkpoint)
    tables = asked.tables(checkpoint, dataset)
    computed = dict.fromkeys(tables.collected, 0)
    _with_repairs(lambda: _fill(asked, checkpoint, dataset, tables, count, computed, session or Session()))
    return computed


def _with_repairs(work: Callable[[], T]) -> T:
    """Do something again whenever a part was found damaged and set aside: its rows are missing then.

    Raises:
        DamagedPart: rows were computed anew and are damaged again and again. Once more is no fault of the disk where
            several jobs write without file locks: scores are of answers that another job has replaced meanwhile.
    """
    damaged = Counter[str]()
    while True:
        try:
            return work()
        except DamagedPart as damage:
            damaged[damage.rows] += 1
            if damaged[damage.rows] > REPAIRS:
                raise
            log.warning("%s", damage)


def _fill(
    asked: Asked,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    tables: Tables,
    count: int,
    computed: dict[str, int],
    session: Session,
    others: Callable[[], Sequence[Asked]] = tuple,
) -> None:
    """Compute and judge what is missing; adds what was computed to ``computed``."""
    refuse_lacking(checkpoint, dataset, tables, count)
    if any(table.missing((0, count)) for table in tables.collected.values()):
        alone, ahead = Together(asked.looks, tables.collected), _collected_ahead(session)
        whole = together(asked, others(), checkpoint, dataset)
        try:
            rows = _compute(asked.config, checkpoint, dataset, whole, count, session)
        except VoVNetError as error:
            if whole.tables.keys() == alone.tables.keys():
                raise
            log.warning("what this sweep needs is not collected at once, but job by job: %s", error)
            session.jobs, whole = (), alone
            rows = _compute(asked.config, checkpoint, dataset, whole, count, session)
        for name, number in rows.items():
            if name in computed:
                computed[name] += number
            else:
                folder = str(whole.tables[name].folder)
                ahead[folder] = ahead.get(folder, 0) + number
    tables.judge(dataset, count)


def _compute(
    config: RunConfig, checkpoint: Checkpoint, dataset: VQADataset, wanted: Together, count: int, session: Session
) -> Mapping[str, int]:
    """Fill what is missing of some tables; how many rows were computed, by their names."""
    with uncollected():
        from vovnet.outcomes.collect import Collector  # imports torch

    collector = Collector(
        store=OutcomeStore(config.paths.store),
        tables=wanted.tables,
        looks=wanted.looks,
        dataset=dataset,
        options=config.eval,
        backbone=lambda: branch_backbone(config, session),
        note=_note(config.backbone, checkpoint),
        subject=table_keys(config, checkpoint, dataset, ())[TEXT].id.removeprefix(f"{TEXT}-"),
    )
    if {*wanted.looks} - {Action.NO}:
        tokens = in_tokens(config, checkpoint, dataset, wanted.looks, count)
        log.info("%s: a question costs %s", dataset.name, tokens)
    return collector.fill(count).computed


def refuse_lacking(checkpoint: Checkpoint, dataset: VQADataset, tables: Tables, count: int) -> None:
    """Refuse to ask imported rows for what they lack, which nobody can compute here.

    Raises:
        VoVNetError: names it, and what to do.
    """
    imported = imported_rows(checkpoint, dataset)
    lacking = [name for name, table in tables.collected.items() if table.missing((0, count))]
    if imported is None or not lacking:
        return
    name, record, where = lacking[0], imported.record, f"{dataset.name}/{dataset.split}"
    there = f"there are {', '.join(sorted(record['looks']))}" if record else "there are none of this split"
    look, _, beside = name.partition(" ")
    if record and record["count"] < count:
        problem = (
            f"{record['count']} of the {counted(count, 'question')} of {where}; set eval.max_samples={record['count']}"
        )
    elif beside == "nll":
        problem = f"no nll after {look.upper()}; import them with it, or set policy/objective=value"
    elif beside:
        problem = (
            f"no hidden states, entropy and margin after {look.upper()}; import them with these, or set policy=vovnet"
        )
    elif name == TEXT:
        problem = (
            f"no rows of the look no in {where}, which say what the text pass yields; import them, or choose a baseline"
        )
    else:
        problem = f"no rows of the look {look} in {where} ({there}); import them, or choose looks by policy.looks"
    raise VoVNetError(f"what was imported as backbone.name={imported.name} holds {problem}.")


def in_tokens(
    config: RunConfig, checkpoint: Checkpoint, dataset: VQADataset, actions: Sequence[Action], count: int
) -> str:
    """What a question costs under each look before any is taken, on average over some questions' image sizes."""
    budget = budget_of(branch_budget(config), checkpoint, pruning_of(config))
    rows = np.unique(np.linspace(0, count - 1, min(count, MEASURED)).astype(int)).tolist()
    sizes = [image.size() for row in rows for image in dataset[row].images]
    means = {a.label.upper(): sum(budget.tokens(*size, a) for size in sizes) / len(rows) for a in actions}
    shown = ", ".join(f"{mean:.4g} under {label}" for label, mean in means.items())
    return f"{shown} in vision tokens (mean over the image sizes of {counted(len(rows), 'question')})"


def missing_rows(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    actions: tuple[Action, ...],
    count: int,
    with_text: bool = True,
) -> Mapping[str, int]:
    """How many of the first ``count`` samples the store lacks, per branch; computes nothing."""
    tables = Asked(config, actions, with_text).tables(checkpoint, dataset)
    gaps = {name: table.missing((0, count)) for name, table in tables.collected.items()}
    return {name: sum(stop - start for start, stop in spans) for name, spans in gaps.items()}


def stored_outcomes(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    actions: tuple[Action, ...],
    count: int,
    session: Session | None = None,
) -> Outcomes | None:
    """The same from answers that the store holds already; None where a row is missing or damaged."""
    tables = Asked(config, actions).tables(checkpoint, dataset)
    if any(table.missing((0, count)) for table in tables.answers.values()):
        return None
    try:
        tables.judge(dataset, count)
        return tables.outcomes(actions, count, session or Session())
    except DamagedPart as damage:
        log.warning("%s", damage)
        return None


def branch_backbone(config: RunConfig, session: Session | None = None) -> "VLM":
    """The backbone as the configuration's branches need it."""
    return shared_backbone(config.backbone, branch_budget(config), config.eval.cache_reuse, pruning_of(config), session)


def shared_backbone(
    config: BackboneConfig,
    budget: VisionBudgetConfig,
    cache_reuse: bool,
    pruning: "Pruning | None" = None,
    session: Session | None = None,
) -> "VLM":
    """The backbone, loaded once a session; the old one goes first, since two may not fit into the device's memory."""
    with uncollected():
        from vovnet.vlm.loading import load_backbone

    session = session or Session()

    def load() -> "VLM":
        log.info("loading backbone %s", config.path or config.name)
        checkpoint = find_checkpoint(config, session=session)
        with uncollected():
            loaded = load_backbone(config, budget, cache_reuse, pruning, checkpoint)
        remember_loaded(loaded, config, checkpoint)
        return loaded

    return session.once("backbone", (config, budget, cache_reuse, pruning), load)


def _note(config: BackboneConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    import PIL
    import tokenizers
    import torch
    import transformers

    from vovnet.vlm.device import pick_device

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
