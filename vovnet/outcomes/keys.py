"""What determines an outcome, spelled out: the store's keys."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vovnet.actions import Action
from vovnet.backbone.files import Checkpoint
from vovnet.backbone.reading import reading_facts
from vovnet.data import VQADataset
from vovnet.outcomes.store import TableKey
from vovnet.outcomes.variants import branch_budget, full_pruning
from vovnet.schema import RunConfig
from vovnet.scoring import SCORERS

# Raised by hand whenever a change to the code changes what a branch yields.
# 2: images upright, on white and scaled from 16 bits; no added token of a tokenizer is read out of a question.
# 3: norms, rotations and patch embedding in fewer calls (``backbone.fused``): last bits, half precision's roundings.
CODE_VERSION = {"text": 3, "no": 3, "coarse": 3, "full": 3}


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


def table_keys(
    config: RunConfig, checkpoint: Checkpoint, dataset: VQADataset, actions: tuple[Action, ...]
) -> Mapping[str, TableKey]:
    """Keys of the text table and of one table per action.

    The text pass and NO depend on neither budget nor order. COARSE depends on FULL's bounds as well: it is fitted
    inside FULL's size, whose sides are rounded.
    """
    reading = reading_facts(config.backbone, checkpoint)
    common = {
        "reading": {name: reading[name] for name in ("chat_template", "tokenizer")},
        "backbone": {
            "fingerprint": checkpoint.fingerprint,
            "dtype": config.backbone.dtype,
            "attention": config.backbone.attn_implementation,
            **({"compile": True} if config.backbone.compile else {}),
        },
        "dataset": {"name": dataset.name, "split": dataset.split, "fingerprint": dataset.fingerprint},
        "prompts": [[m.config.prompt_template, m.config.open_template] for m in dataset.members],
    }
    answered = {
        "decoding": decoding_facts(config, config.eval.seed),
        # Decides what an answer is where the prompt opens the reasoning; the fingerprint leaves out who trained.
        **({"answers_directly": True} if checkpoint.trained_here else {}),
        **({} if config.backbone.cuda_graphs else {"graphs": False}),  # they may differ in the last bits
        "scorers": [[m.scorer, SCORERS[m.scorer].version] for m in dataset.members],
    }
    keys = {"text": TableKey("text", common | {"code": CODE_VERSION["text"]})}
    for action in actions:
        facts: dict[str, Any] = common | answered | {"code": CODE_VERSION[action.label]}
        if action is not Action.NO:
            budget, pruning = branch_budget(config), full_pruning(config)
            facts |= {
                "pictures": reading["pictures"],
                "order": config.backbone.prompt_order,
                "resolution": asdict(budget.coarse if action is Action.COARSE else budget.full),
                "cache_reuse": reuses_cache(config),
            }
            if action is Action.COARSE:
                facts["inside"] = asdict(budget.full)
            if action is Action.FULL and pruning is not None:
                facts["pruning"] = {"mode": pruning[0], "ratio": pruning[1]}
        keys[action.label] = TableKey(action.label, facts)
    return keys
