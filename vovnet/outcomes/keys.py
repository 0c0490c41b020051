"""What determines an outcome, spelled out: the store's keys."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vovnet.actions import Action
from vovnet.data import VQADataset
from vovnet.outcomes.looks import Look
from vovnet.outcomes.store import TEXT, TableKey
from vovnet.schema import BackboneConfig, RunConfig
from vovnet.scoring import scorer_named
from vovnet.vlm.families import is_generic
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.reading import reading_facts

# Raised by hand whenever a change to the code changes what a kind of table holds: the text pass, answers without an
# image, answers with one, what a policy's head makes of the text pass. A scorer has a version of its own.
# 2: images upright, on white and scaled from 16 bits; no added token of a tokenizer is read out of a question.
# 3: norms, rotations and patch embedding in fewer calls (``backbone.fused``): last bits, half precision's roundings.
CODE_VERSION = {"text": 3, "blind": 3, "seen": 3, "values": 1}
# The same for the generic implementation of vision-language models.
# 2: prompts are as long as what is read of them in cross-attention, too.
GENERIC_VERSION = 2

# Shapes in which questions are read with backbone.batch_invariant (``vovnet.vlm.qwen.fixed``).
INVARIANT_VERSION = 1


def reuses_cache(config: RunConfig) -> bool:
    """Whether a vision pass continues the text pass's cache: asked for, and possible in this order."""
    return config.eval.cache_reuse and config.backbone.prompt_order == "text_first"


def decoding_facts(config: RunConfig, seed: int) -> dict[str, Any]:
    """The decoding keys that matter; temperature and seed count only when sampling."""
    decoding = config.eval
    facts: dict[str, Any] = {"max_new_tokens": decoding.max_new_tokens, "num_beams": decoding.num_beams}
    if decoding.do_sample:
        facts |= {"temperature": decoding.temperature, "seed": seed}
    return facts


def generic_facts(config: BackboneConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Tells apart what the generic implementation computes; nothing where a family's fast path does."""
    return {"generic": GENERIC_VERSION} if is_generic(config, checkpoint.model_type) else {}


def table_keys(
    config: RunConfig, checkpoint: Checkpoint, dataset: VQADataset, looks: Iterable[Look]
) -> Mapping[str, TableKey]:
    """Keys of the text table and of one table per look, by their names.

    The text pass and looks without an image depend on neither budget nor order. References count, by the data set's
    fingerprint: the files that hold them often hold the images too.
    """
    if (imported := imported_rows(checkpoint, dataset)) is not None:
        return {name: imported_key(imported, dataset, name) for name in (TEXT, *(look.name for look in looks))}
    reading = reading_facts(config.backbone, checkpoint)
    common = {
        "reading": {name: reading[name] for name in ("chat_template", "tokenizer")},
        "backbone": {
            "fingerprint": checkpoint.fingerprint,
            "dtype": config.backbone.dtype,
            "attention": config.backbone.attn_implementation,
            **({"compile": True} if config.backbone.compile else {}),
            **({"batch_invariant": INVARIANT_VERSION} if config.backbone.batch_invariant else {}),
            **generic_facts(config.backbone, checkpoint),
        },
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "prompts": [[m.config.prompt_template, m.config.open_template] for m in dataset.members],
    }
    answered = {
        "decoding": decoding_facts(config, config.eval.seed),
        # Decides what an answer is where the prompt opens the reasoning; the fingerprint leaves out who trained.
        **({"answers_directly": True} if checkpoint.trained_here else {}),
        **({} if config.backbone.cuda_graphs else {"graphs": False}),  # they may differ in the last bits
    }
    marked = [member.name for member in dataset.members if member.config.interleave]  # whose images stand among text
    keys = {TEXT: TableKey(TEXT, common | {"code": CODE_VERSION["text"]})}
    for look in looks:
        facts: dict[str, Any] = common | answered | {"code": CODE_VERSION["blind"]}
        if look.resolution is not None:
            facts |= {
                "code": CODE_VERSION["seen"],
                "pictures": reading["pictures"],
                "order": config.backbone.prompt_order,
                "resolution": look.resolution.facts(),
                "cache_reuse": reuses_cache(config),
                **({"interleave": marked} if marked else {}),
            }
        if look.inside is not None:
            facts["inside"] = look.inside.facts()
        if look.pruning is not None:
            facts["pruning"] = dict(zip(("mode", "ratio"), look.pruning, strict=True))
        keys[look.name] = TableKey(look.name, facts)
    return keys


@dataclass(frozen=True)
class Imported:
    """An imported backbone's rows of one split.

    Attributes:
        record: how many questions they are of, whose scores they have, and each look's content as a hash; empty where
            there are none.
    """

    name: str
    engine: str
    fingerprint: str
    record: Mapping[str, Any]


def rows_name(dataset: VQADataset) -> str:
    """What an imported backbone's rows of a split are known by."""
    return f"{dataset.name}/{dataset.split}/{dataset.fingerprint[:16]}"


def imported_rows(checkpoint: Checkpoint, dataset: VQADataset) -> Imported | None:
    """An imported backbone's rows of a split; None for a backbone with a model."""
    if checkpoint.engine is None:
        return None
    card = checkpoint.config
    return Imported(card["name"], card["engine"], checkpoint.fingerprint, card["rows"].get(rows_name(dataset), {}))


def imported_key(rows: Imported, dataset: VQADataset, name: str) -> TableKey:
    """Key of a look's table, or of the text pass's, whose rows are those of NO."""
    look = Action.NO.label if name == TEXT else name
    facts = {
        "backbone": {"fingerprint": rows.fingerprint, "engine": rows.engine, "imported": rows.name},
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "rows": rows.record.get("looks", {}).get(look, {}).get("content"),
        "scores": rows.record.get("scores"),
    }
    return TableKey(name, facts)


def are_given(key: TableKey) -> bool:
    """Whether a branch's scores came with its answers, so that no scorer of ours judges them."""
    return key.facts.get("scores") == "given"


def scores_key(branch: TableKey, dataset: VQADataset) -> TableKey:
    """Key of the scores of a branch table's answers; the branch's own key holds the references."""
    if are_given(branch):
        return TableKey("scores", {"of": branch.id, "given_by": branch.facts["backbone"]["engine"]})
    return TableKey("scores", {"of": branch.id, "scorers": scorer_facts(dataset)})


def nll_key(branch: TableKey) -> TableKey:
    """Key of the references' NLL after a branch's prompts; the branch's own key holds the references."""
    return TableKey("nll", {"of": branch.id})


def state_key(branch: TableKey) -> TableKey:
    """Key of what a branch's prefills yield for policies that look again."""
    return TableKey("state", {"of": branch.id})


def values_key(text: TableKey, rows: int, parts: Iterable[str], policy: str) -> TableKey:
    """Key of a policy's values of the text pass's first rows.

    Args:
        rows: computed at once; another number of them may give other last bits.
        parts: of the text table that hold them.
        policy: hash of its file.
    """
    facts = {"of": text.id, "rows": rows, "parts": list(parts), "policy": policy, "code": CODE_VERSION["values"]}
    return TableKey("values", facts)


def scorer_facts(dataset: VQADataset) -> list[list[str | int]]:
    """What tells apart the scores that two versions of each member's scorer give."""
    return [scorer_named(member.scorer).identity for member in dataset.members]
