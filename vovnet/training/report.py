"""What a policy training writes and says at its end."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vovnet.checks.check import Check, told
from vovnet.compose import config_hash
from vovnet.data import load_dataset
from vovnet.files import write_json
from vovnet.outcomes.judge import MOST_UNREAD, in_words
from vovnet.policy import FILE_NAME
from vovnet.policy.checkpoint import read_card
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.existing import existing_summary, inputs_key
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.terminal import counted, say
from vovnet.training.adapt import adaptation_plan
from vovnet.training.curves import draw_training
from vovnet.training.policy import Trained
from vovnet.training.steps import newest_checkpoint, saved_steps
from vovnet.training.trainer import Plan
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.reading import reading_facts

log = logging.getLogger(__name__)
COLLAPSED = 0.99  # share of one action above which a policy is said to have collapsed
SHOWN = 10  # saved steps in a check point's text, the last ones


def write_training(
    config: RunConfig, trained: Trained, folder: Path, seconds: float, session: Session | None = None
) -> dict[str, Any]:
    """Write summary.json and return it."""
    same = trained.backbone == config.backbone  # otherwise it was written since the session began
    checkpoint, data = find_checkpoint(trained.backbone, session=session if same else None), trained.data
    summary = {
        "config": asdict(config),
        "config_hash": config_hash(config),
        "inputs": inputs_key(config, data.dataset, session=session),
        "seed": config.training.seed,
        "dataset": {"name": config.dataset.name, "split": "train", "fingerprint": data.dataset.fingerprint},
        "backbone": {"folder": str(checkpoint.folder), "fingerprint": checkpoint.fingerprint},
        "reading": reading_facts(trained.backbone, checkpoint),
        "backbone_overrides": backbone_overrides(config, trained),
        "policy_file": str(trained.path),
        "validation": trained.metrics,
        "unread": trained.unread,
        "train_samples": len(data.train),
        "val_samples": len(data.val),
        "rows_computed": trained.computed,
        "rows_skipped": list(data.dataset.skipped),
        "leak_guard": data.leaks,
        "checks": [check.as_json() for check in training_checks(config, trained, folder)],
        "wall_seconds": round(seconds, 3),
        **provenance(session),
    }
    draw_training(folder)
    write_json(folder / SUMMARY, summary)
    return summary


def training_checks(config: RunConfig, trained: Trained, folder: Path) -> list[Check]:
    """The specification's check points of A0, and whether the policy chooses at all."""
    saved = [saved_check(folder / "steps", trained.plan)]
    if config.training.stage1_epochs:
        saved.insert(0, saved_check(folder / "stage1/steps", adaptation_plan(config.training, trained.data)))
    rates = _by_action(trained, "val/rate_")
    action, share = max(rates.items(), key=lambda rate: rate[1])
    if share > COLLAPSED:
        log.warning(
            "the policy chooses %s for %.1f %% of the validation questions at lambda %g",
            action.upper(), 100 * share, config.policy.lambda_cost,
        )  # fmt: skip
    fixed, utility = _by_action(trained, "val/utility_"), trained.metrics["val/utility"]
    label = f"{config.dataset.name}, {config.policy.objective.name}"
    label += ", sequential" * (config.policy.procedure == "sequential")
    label += told({"feature_mode": config.policy.feature_mode, "seed": config.training.seed}, ("feature_mode", "seed"))
    seen = f"{utility:.4f} against " + " ".join(f"{name}={value:.4f}" for name, value in fixed.items())
    return [
        *saved,
        _readable_check(trained.unread),
        Check(
            f"{label}: validation utility is at least that of every fixed action",
            utility >= max(fixed.values()) - 1e-6,
            seen,
        ),
    ]


def _readable_check(unread: Mapping[str, float]) -> Check:
    passed = all(share <= MOST_UNREAD for share in unread.values())
    name = f"at most {MOST_UNREAD:.0%} of the answers that the policy learned from are unreadable under any action"
    return Check(name, passed, in_words(unread))


def saved_check(folder: Path, plan: Plan) -> Check:
    """Whether a stage was saved as often as planned and to its end, going by its newest checkpoint."""
    newest = newest_checkpoint(folder, plan.stage)
    saved = [] if newest is None else saved_steps(newest)
    whole = newest is not None and newest.stem == f"{plan.stage}-step={plan.steps:06d}"
    shown = [step for step in saved if step < plan.steps][-SHOWN:]
    return Check(
        f"{plan.stage}: a checkpoint every {plan.save_every} steps, and of the last, step {plan.steps}",
        whole and set(saved) >= set(range(plan.save_every, plan.steps, plan.save_every)),
        " ".join(["saved at", *map(str, shown), newest.name]) if newest else "none is there",
    )


def _by_action(trained: Trained, prefix: str) -> dict[str, float]:
    return {n.removeprefix(prefix): v for n, v in trained.metrics.items() if n.startswith(prefix)}


def backbone_overrides(config: RunConfig, trained: Trained) -> list[str]:
    """What an evaluation has to be given so that it uses the backbone that was trained."""
    before, after = asdict(config.backbone), asdict(trained.backbone)
    return [f"backbone.{key}={after[key]}" for key in ("path", "packaged", "adapter") if before[key] != after[key]]


def existing_training(config: RunConfig, folder: Path, session: Session | None = None) -> dict[str, Any] | None:
    """The summary of a training with the same inputs that ``folder`` already holds, with its policy file.

    A file that does not say how it was trained, as older ones do not, is written again.
    """
    session = session or Session()
    data = load_dataset(config.dataset, "train", session=session)
    found = existing_summary(folder, inputs_key(config, data, session=session), config.dataset.label)
    path = folder / FILE_NAME
    return found if found is not None and path.is_file() and read_card(path).training_config else None


def print_training(summary: Mapping[str, Any], folder: Path) -> None:
    """Print the kept epoch's metrics and where the files are."""
    sizes = summary["train_samples"], summary["val_samples"]
    say(f"trained on {counted(sizes[0], 'question')}, validated on {sizes[1]} about other images")
    for name, value in summary["validation"].items():
        say(f"  {name:16s} {value:.4f}")
    for check in summary["checks"]:
        say(f"{'pass' if check['passed'] else 'FAIL'}  {check['name']}: {check['observed']}")
    if summary["backbone_overrides"]:
        say("the backbone was trained too; evaluate with " + " ".join(summary["backbone_overrides"]))
    say(f"outputs: {folder}")
