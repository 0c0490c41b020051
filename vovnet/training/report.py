"""What a policy training writes and says at its end."""

from dataclasses import asdict
from pathlib import Path

from vovnet.backbone.files import find_checkpoint
from vovnet.compose import config_hash
from vovnet.files import write_json
from vovnet.results.provenance import provenance
from vovnet.results.write import SUMMARY
from vovnet.schema import RunConfig
from vovnet.training.policy import Trained


def write_training(config: RunConfig, trained: Trained, folder: Path, seconds: float) -> None:
    """Write summary.json."""
    checkpoint = find_checkpoint(config.backbone)
    write_json(
        folder / SUMMARY,
        {
            "config": asdict(config),
            "config_hash": config_hash(config),
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
        },
    )


def print_training(trained: Trained, folder: Path) -> None:
    """Print the kept epoch's metrics and where the files are."""
    print(f"trained on {trained.samples[0]} questions, validated on {trained.samples[1]} about other images")
    for name, value in trained.metrics.items():
        print(f"  {name:16s} {value:.4f}")
    print(f"outputs: {folder}")
