"""A training from its first to its last stage, on one device or several; goes on where it was stopped."""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vovnet.actions import FIXED_POLICIES
from vovnet.compose import config_identity
from vovnet.data import VQADataset
from vovnet.errors import VoVNetError
from vovnet.files import read_object, write_json
from vovnet.lightning_parts import quiet_lightning
from vovnet.locks import Claim
from vovnet.outcomes.keys import imported_rows
from vovnet.outcomes.looks import check_looks
from vovnet.provenance import SUMMARY
from vovnet.ranks import is_main_rank
from vovnet.schema import PolicyTraining, RunConfig
from vovnet.session import Session
from vovnet.training.adapt import adapt_backbone
from vovnet.training.policy import Trained, train_head
from vovnet.training.questions import training_data
from vovnet.vlm.files import find_checkpoint
from vovnet.vlm.reading import reading_facts

log = logging.getLogger(__name__)
CLAIM_FILE = "training.json"  # what the checkpoints in a folder belong to
LOCK_FILE = "training.lock"
LEFT_BEHIND = ("log", "backbone", "stage1", "steps", SUMMARY)


def train_policy(config: RunConfig, training: PolicyTraining, folder: Path, session: Session | None = None) -> Trained:
    """Stage 1 where there is one, then stage 2; every rank runs this, rank 0 writes.

    Raises:
        VoVNetError: ``folder`` holds a stopped training of another configuration.
    """
    with alone(folder):
        return _train(config, training, folder, session or Session())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One training at a time in a folder: two would remove each other's checkpoints."""
    if not is_main_rank():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    place = Claim(folder / LOCK_FILE)
    if not place.take(wait=False):
        log.warning("another process trains in %s; waiting for its end", folder)
        place.take()
    try:
        yield
    finally:
        place.release()


def _train(config: RunConfig, training: PolicyTraining, folder: Path, session: Session) -> Trained:
    quiet_lightning()
    if config.policy.procedure == "sequential" and (training.live or training.stage2_backbone != "frozen"):
        raise VoVNetError(
            "policy=sequential learns from stored outcomes only; set training.live=false and "
            "training.stage2_backbone=frozen."
        )
    looks = [*config.menu]
    if training.stage1_epochs:
        looks.append(FIXED_POLICIES[training.stage1_baseline_name])
    check_looks(config, find_checkpoint(config.backbone, session=session), looks)  # before stage 1
    data = training_data(config, training, session)
    if is_main_rank():
        claim(folder, config, data.dataset, session)
    else:
        wait_for_claim(folder, config, data.dataset, session)
    backbone = adapt_backbone(config, training, data, folder, session)
    if backbone != config.backbone:
        log.info("stage 1 -> stage 2: training.stage1_epochs=%d are done", training.stage1_epochs)
        session = Session()  # an earlier training may have written other weights to the same folder
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the branches' batches need what stage 1 held
    return train_head(replace(config, backbone=backbone), training, data, folder, session)


def claim(folder: Path, config: RunConfig, dataset: VQADataset, session: Session | None = None) -> None:
    """Write what this folder's checkpoints belong to, or compare; a finished training of other inputs is cleared.

    Raises:
        VoVNetError: a stopped training of another configuration lies there.
    """
    wanted = _belonging(config, dataset, session)
    file = folder / CLAIM_FILE
    if file.is_file() and (found := _claimed(file)) != wanted:
        stopped = any((folder / name).exists() for name in LEFT_BEHIND) and not (folder / SUMMARY).is_file()
        if stopped:
            key, there, here = next(differences(found, wanted))
            raise VoVNetError(
                f"{folder} holds a stopped training with {key}={there}, this one has {here}; remove the folder, or "
                "name another by hydra.run.dir."
            )
        for path in [*(folder / name for name in LEFT_BEHIND), *folder.glob("log-after-*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    write_json(file, wanted)


def wait_for_claim(folder: Path, config: RunConfig, dataset: VQADataset, session: Session | None = None) -> None:
    """Until rank 0 has claimed the folder: what it clears away before is nothing to go on from.

    Rank 0 may wait for another training itself. Where it has failed, whoever started the ranks ends this one.
    """
    wanted, file = _belonging(config, dataset, session), folder / CLAIM_FILE
    while not file.is_file() or _claimed(file) != wanted:
        time.sleep(0.05)


def _belonging(config: RunConfig, dataset: VQADataset, session: Session | None) -> Any:
    """What checkpoints in a folder belong to, as it is written there."""
    identity, checkpoint = config_identity(config), find_checkpoint(config.backbone, session=session)
    wanted = {key: identity[key] for key in ("policy", "training", "dataset", "vision_budget")} | {
        "backbone": asdict(config.backbone) | {"fingerprint": checkpoint.fingerprint},
        "reading": reading_facts(config.backbone, checkpoint),
        "data": dataset.fingerprint,
        **({} if (rows := imported_rows(checkpoint, dataset)) is None else {"rows": rows.record}),
    }
    return json.loads(json.dumps(wanted))


def _claimed(file: Path) -> Any:
    try:
        return read_object(file)
    except ValueError as error:
        raise VoVNetError(
            f"{file} is damaged ({error}), so it is not known what the checkpoints beside it belong to; remove the "
            "folder, or name another by hydra.run.dir."
        ) from error


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys in which two nested mappings differ, with both values."""
    for key in sorted({*one, *other}):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b
