"""Block F1: latencies measured question by question, as rows of results.csv and as files."""

import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch

from vovnet.actions import FIXED_POLICIES, USUAL, Action
from vovnet.analyses.profile import ProfileRow, as_rows, measured, profile
from vovnet.compose import config_hash
from vovnet.data import VQADataset, item, load_dataset
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.outcomes.keys import reuses_cache
from vovnet.outcomes.latencies import Latencies, patches_of_token, write_latencies
from vovnet.outcomes.looks import check_looks, full_pruning, looks_of
from vovnet.outcomes.routed import Routed
from vovnet.outcomes.units import unit_of
from vovnet.policy.fixed import Fixed
from vovnet.policy.protocol import TEXT, Policy
from vovnet.policy.route import make_router
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.columns import OWN_ENGINE, ResultRow
from vovnet.results.existing import existing_summary, inputs_key
from vovnet.results.row import RunFacts, make_row
from vovnet.results.setting import make_policy
from vovnet.results.split import rule_of, split_columns
from vovnet.results.write import RESULTS, write_results, write_rows
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.facts import vlm_facts
from vovnet.vlm.files import Checkpoint, backbone_label, find_checkpoint


def timed_rows(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    policy: Policy,
    profile: Sequence[ProfileRow],
    answered: Mapping[str, Routed],
    session: Session | None = None,
) -> list[ResultRow]:
    """A row of mode ``profile`` for the configured policy, and for each fixed policy whose branch was timed.

    Where FULL is pruned or scaled, its branch alone is not always_full, which looks at whole images.

    Args:
        profile: the lines of profile.csv.
        answered: what was done to the measured questions, by the action of the end-to-end lines.
    """
    whole = {line.action: line for line in profile if line.stage == "end_to_end"}
    asked = config.profile
    assert asked is not None
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    places = measured(count, asked.warmup, asked.batch_size)
    groups = split_columns(dataset, places.stop, session or Session()).groups[places.start :]
    rows = [_row(config, checkpoint, dataset, policy, whole["routed"], answered["routed"], groups)]
    for name, action in sorted(FIXED_POLICIES.items(), key=lambda pair: pair[1]):
        baseline = Fixed(name)  # type: ignore[arg-type]  # a key of the one is a name of the other
        fixed = _always(config, baseline)
        if config.policy.baseline != baseline and looks_of(config, [action]) == looks_of(fixed, [action]):
            label = action.label
            rows.append(_row(fixed, checkpoint, dataset, baseline, whole[label], answered[label], groups))
    return rows


def _always(config: RunConfig, baseline: Fixed) -> RunConfig:
    bare = replace(
        config.policy,
        fallback_mode=None,
        fallback_entropy_threshold=None,
        fallback_entropy_quantile=None,
        fallback_margin_threshold=None,
    )
    return replace(config, policy=replace(bare, baseline=baseline))


def _row(
    config: RunConfig,
    checkpoint: Checkpoint,
    dataset: VQADataset,
    policy: Policy,
    line: ProfileRow,
    routed: Routed,
    groups: np.ndarray,
) -> ResultRow:
    """One row. No official score: the warm-up's questions are missing."""
    facts = RunFacts(
        split=dataset.split,
        metric=dataset.metric,
        scoring_rule=rule_of(dataset),
        dataset=dataset.name,
        groups=groups,
        backbone=backbone_label(config.backbone),
        text_config=checkpoint.text_config,
        vision_config=checkpoint.vision_config,
        engine=OWN_ENGINE,
        cache_reuse=reuses_cache(config) and TEXT in policy.needs,
        checkpoint=str(policy.file) if policy.file else None,
        baseline_name=policy.name,
        policy=policy.label(),
        settings=policy.columns(),
        pruning=full_pruning(config),
        cost_unit=unit_of(config, checkpoint, policy.looks).name,
        config_hash=config_hash(config, policy.file),
        memory_mb=line.mem_peak_mb,
    )
    row = make_row(config, facts, routed, None)
    row = replace(row, mode="profile")
    if line.batch_size > 1:  # a latency in results is that of one question by itself
        return row
    return replace(row, latency_p50_ms=line.latency_p50_ms, latency_p90_ms=line.latency_p90_ms)


def profile_policy(config: RunConfig, folder: Path, session: Session) -> list[ProfileRow]:
    """Measure and write ``profile.csv`` and ``results.csv``, with the machine and the settings in ``summary.json``."""
    asked = config.profile
    if asked is None:
        raise VoVNetError("profile.warmup is missing; start from conf/profile.yaml.")
    dataset = load_dataset(config.dataset, config.eval.split, session=session)
    checkpoint = find_checkpoint(config.backbone, session=session)
    policy = make_policy(config, session)
    key = inputs_key(config, dataset, policy.file, session)
    pruned = full_pruning(config) is not None  # then FULL's time is not that of its tokens
    existing = existing_summary(folder, key, config.dataset.label)
    known = existing is not None and (pruned or Path(existing.get("latencies", "")).is_file())
    if existing is not None and known and (folder / RESULTS).is_file():
        return [ProfileRow(**row) for row in existing["profile"]]
    router = make_router(config, dataset, policy, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    menu = tuple(dict.fromkeys((*USUAL, *config.menu, *policy.looks)))
    check_looks(config, checkpoint, config.menu, any_price=True)
    items = [item(dataset, i) for i in range(count)]
    rows, answered = profile(router, items, asked.warmup, asked.batch_size, menu)
    (folder / SUMMARY).unlink(missing_ok=True)  # of other inputs: where there is one, the table belongs to it
    write_rows(folder / "profile.csv", as_rows(rows), [f.name for f in fields(ProfileRow)])
    write_results(folder / RESULTS, timed_rows(config, checkpoint, dataset, policy, rows, answered, session))
    device = router.backbone.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"
    if asked.batch_size > 1:  # other latencies than those of one question at a time
        named = f"{named} batch {asked.batch_size}"
    latencies = {}
    if not pruned:
        measured_looks = _latencies(menu, rows, answered, patches_of_token(checkpoint))
        latencies["latencies"] = str(write_latencies(config, checkpoint, named, measured_looks))
    facts = {
        **latencies,
        "config": asdict(config),
        "inputs": key,
        "device": str(router.backbone.device),
        "vlm": vlm_facts(config.backbone, config.vision_budget, checkpoint, session),
        "cache_reuse": router.backbone.cache_reuse,
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),  # kilobytes on Linux
        "profile": as_rows(rows),
    }
    write_json(folder / SUMMARY, facts | provenance(session))
    return rows


def _latencies(
    menu: Sequence[Action], rows: Sequence[ProfileRow], answered: Mapping[str, Routed], patches: int
) -> Latencies:
    """Medians of each look alone; ``patches`` make a token before it is pruned."""
    times = {row.action: row.latency_p50_ms for row in rows if row.stage == "end_to_end"}

    def mean(look: Action, column: str) -> float:
        return float(np.mean(answered[look.label].paid(column)))

    whole = sorted((mean(look, "vision_tokens"), times[look.label]) for look in menu if look.pruning is None)
    pruned = [
        (look.content, mean(look, "patches") / patches, times[look.label]) for look in menu if look.pruning is not None
    ]
    return Latencies([size for size, _ in whole], [time for _, time in whole], pruned)
