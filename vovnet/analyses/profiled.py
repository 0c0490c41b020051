"""Block F1 of a configuration: latencies measured and written."""

import platform
import resource
from dataclasses import asdict, fields
from pathlib import Path

import torch

from vovnet.actions import USUAL
from vovnet.analyses.profile import ProfileRow, as_rows, profile
from vovnet.analyses.timed import timed_rows
from vovnet.data import item, load_dataset
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.outcomes.units import write_latency
from vovnet.outcomes.variants import full_pruning
from vovnet.policy.route import make_router
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.existing import existing_summary, inputs_key
from vovnet.results.setting import make_policy
from vovnet.results.write import RESULTS, write_results, write_rows
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.facts import vlm_facts
from vovnet.vlm.files import find_checkpoint


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
    existing = existing_summary(folder, key)
    known = existing is not None and (pruned or Path(existing.get("latencies", "")).is_file())
    if existing is not None and known and (folder / RESULTS).is_file():
        return [ProfileRow(**row) for row in existing["profile"]]
    router = make_router(config, dataset, policy, session=session)
    count = min(len(dataset), config.eval.max_samples or len(dataset))
    rows, answered = profile(router, [item(dataset, i) for i in range(count)], asked.warmup, asked.batch_size)
    (folder / SUMMARY).unlink(missing_ok=True)  # of other inputs: where one stands, the table belongs to it
    write_rows(folder / "profile.csv", as_rows(rows), [f.name for f in fields(ProfileRow)])
    write_results(folder / RESULTS, timed_rows(config, checkpoint, dataset, policy, rows, answered, session))
    whole = {row.action: row for row in rows if row.stage == "end_to_end"}
    every = dict.fromkeys((*USUAL, *(look for look in policy.looks if look.pruning is None)))  # of whole images
    looks = sorted((whole[look.label] for look in every), key=lambda row: row.avg_vision_tokens or 0.0)
    device = router.backbone.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}"
    if asked.batch_size > 1:  # other latencies than those of one question at a time
        named = f"{named} batch {asked.batch_size}"
    tokens, times = [row.avg_vision_tokens or 0.0 for row in looks], [row.latency_p50_ms for row in looks]
    latencies = {} if pruned else {"latencies": str(write_latency(config, checkpoint, named, tokens, times))}
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
