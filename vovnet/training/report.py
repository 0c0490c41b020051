"""What a policy training writes and says at its end."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vovnet.backbone.files import find_checkpoint
from vovnet.compose import config_hash
from vovnet.data import load_dataset
from vovnet.files import write_json
from vovnet.policy.checkpoint import FILE_NAME
from vovnet.results.provenance import provenance
from vovnet.results.standing import inputs_key, standing_summary
from vovnet.results.write import SUMMARY
from vovnet.schema import RunConfig
from vovnet.training.policy import Trained


def write_training(config: RunConfig, trained: Trained, folder: Path, seconds: float) -> dict[str, Any]:
    """Write summary.json and return it."""
    checkpoint = find_checkpoint(config.backbone)
    summary = {
        "config": asdict(config),
        "config_hash": config_hash(config),
        "inputs": inputs_key(config, trained.dataset),
        "seed": config.training.seed,
        "dataset": {"name": config.dataset.name, "split": "train", "fingerprint": trained.dataset.fingerprint},
        "backbone": {"folder": str(checkpoint.folder), "fingerprint": checkpoint.fingerprint},
        "policy_file": str(trained.path),
        "validation": trained.metrics,
        "train_samples": trained.samples[0],
        "val_samples": trained.samples[1],
        "rows_computed": trained.computed,
        "rows_skipped": list(trained.dataset.skipped),
        "leak_guard": trained.leaks,
        "checks": [],
        "wall_seconds": round(seconds, 3),
        **provenance(),
    }
    write_json(folder / SUMMARY, summary)
    return summary


def standing_training(config: RunConfig, folder: Path) -> dict[str, Any] | None:
    """The summary of a training with the same inputs that ``folder`` already holds, with its policy file."""
    found = standing_summary(folder, inputs_key(config, load_dataset(config.dataset, "train")))
    return found if (folder / FILE_NAME).is_file() else None


def print_training(summary: Mapping[str, Any], folder: Path) -> None:
    """Print the kept epoch's metrics and where the files are."""
    sizes = summary["train_samples"], summary["val_samples"]
    print(f"trained on {sizes[0]} questions, validated on {sizes[1]} about other images")
    for name, value in summary["validation"].items():
        print(f"  {name:16s} {value:.4f}")
    print(f"outputs: {folder}")
