"""Which policy file an evaluation takes, and whether it fits the configuration."""

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from vovnet.errors import VoVNetError
from vovnet.policy import FILE_NAME
from vovnet.policy.card import UNKNOWN, PolicyCard, check_backbone, make_card
from vovnet.policy.checkpoint import TORCH, read_card
from vovnet.schema import RunConfig
from vovnet.session import Session
from vovnet.vlm.files import Checkpoint

log = logging.getLogger(__name__)
KEPT = 16  # policy files that a session keeps in mind
CLOCKS_APART = 60.0  # seconds by which machines that share a folder may differ

# Card fields that must equal the configuration, and the key that sets them.
MUST_EQUAL = {
    "procedure": "policy.procedure",
    "cost_unit": "policy.cost_unit",
    "feature_mode": "policy.feature_mode",
    "action_space": "policy.action_space",
    "objective": "policy/objective",
    "straight_through": "policy.use_straight_through",
    "hidden_size": "policy.hidden_size",
    "prompt_order": "backbone.prompt_order",
    "coarse": "vision_budget.coarse",
    "full": "vision_budget.full",
    "processor": "vision_budget.{coarse,full}.processor",
    "full_pruning_ratio": "policy.full_pruning_ratio",
    "full_pruning_mode": "policy.full_pruning_mode",
    "looks": "policy.looks",
}


# Digests of a card, and what another one means.
READ_OTHERWISE = {
    "chat_template": "another text around the question (backbone.chat_template, or a date that the template prints)",
    "tokenizer": "versions of transformers and tokenizers that give other token ids",
    "pictures": "versions of Pillow and transformers that give other pixels",
}


def find_policy(config: RunConfig, checkpoint: Checkpoint, session: Session | None = None) -> Path:
    """The policy file to use: the one given by ``eval.checkpoint``, or the newest fitting one; found once a session.

    A file fits when backbone, objective, features, actions, prompt order, budget and training seed
    are the configuration's. ``eval.checkpoint`` is a file, the folder of one, or a folder of several trainings, among
    which the newest fitting one is taken.

    Raises:
        VoVNetError: none fits, or the given one differs from the configuration.
    """
    wanted = replace(make_card(config, checkpoint, width=0), lambda_cost=None)  # a file of any lambda fits
    if config.eval.other_backbone:
        wanted = replace(wanted, fingerprint="")  # and of any backbone
    asked = config.eval.checkpoint, config.paths.runs, wanted
    return (session or Session()).once("policy file", asked, lambda: _find(config, checkpoint, wanted), KEPT)


def _find(config: RunConfig, checkpoint: Checkpoint, wanted: PolicyCard) -> Path:
    given = None if config.eval.checkpoint is None else Path(config.eval.checkpoint).expanduser()
    if given is not None and (not given.is_dir() or (given / FILE_NAME).exists()):
        path = given / FILE_NAME if given.is_dir() else given
        card = read_card(path)
        check_backbone(path, card, checkpoint, config.eval.other_backbone)
        check_configuration(path, card, wanted)
    else:
        path = _newest(given or Path(config.paths.runs), wanted)
        card = read_card(path)
        check_backbone(path, card, checkpoint, config.eval.other_backbone)
        other = card.dataset not in (UNKNOWN, config.dataset.name)
        log.info("policy: %s%s", path, f", trained on {card.dataset}" if other else "")
    warn_of_differences(path, card, wanted)
    return path


def check_configuration(path: Path, card: PolicyCard, wanted: PolicyCard) -> None:
    """Refuse a head that was trained for other features, actions, order or budget than the configuration's."""
    for name, key in MUST_EQUAL.items():
        if getattr(card, name) != getattr(wanted, name):
            trained, here = (_said(getattr(one, name)) for one in (card, wanted))
            raise VoVNetError(
                f"policy file {path} was trained with {key}={trained}, the configuration says {here}; set "
                f"{key}={trained}."
            )


def warn_of_differences(path: Path, card: PolicyCard, wanted: PolicyCard) -> None:
    """A policy may be used with another prompt (another data set's), precision or reading, with a warning."""
    if card.dtype != wanted.dtype:
        log.warning(
            "policy file %s was trained with backbone.dtype=%s, this run has %s", path, card.dtype, wanted.dtype
        )
    if set(wanted.prompts) - set(card.prompts):
        log.warning(
            "policy file %s was trained on %s, with another prompt (dataset.prompt_template, dataset.interleave)",
            path,
            card.dataset,
        )
    if not wanted.fingerprint:
        log.warning("policy file %s was trained on the hidden states of backbone %s", path, card.backbone)
    for name, what in READ_OTHERWISE.items():
        if getattr(card, name) not in ("", getattr(wanted, name)):  # older files do not say
            log.warning("policy file %s was trained with %s", path, what)


def _newest(runs: Path, wanted: PolicyCard) -> Path:
    """The newest fitting policy file of single trainings, of training sweeps, and of sweeps in a pipeline."""
    found, others = list[Path](), list[tuple[Path, PolicyCard]]()
    for path in (path for depth in ("*", "*/*", "*/*/*", "*/*/*/*") for path in runs.glob(f"{depth}/{FILE_NAME}")):
        try:
            card = read_card(path)
        except VoVNetError as error:  # it may be another program's, or half deleted
            log.warning("passing over a policy file: %s", error)
            continue
        if _differences(card, wanted):
            others.append((path, card))
        else:
            found.append(path)
    if not found:
        torch_files = sorted(file for ending in TORCH for file in runs.glob(f"*{ending}"))
        if torch_files and not others:
            raise VoVNetError(
                f"{runs} holds files of torch.save and no {FILE_NAME}; give one by "
                f"eval.ddp_checkpoint_path={torch_files[-1]}."
            )
        raise VoVNetError(
            f"no trained policy under {runs} fits this configuration; {_nearest(others, wanted)}run "
            "`python -m experiments.train` with the same overrides, or give eval.checkpoint=FILE."
        )
    newest = max(found, key=lambda path: (path.stat().st_mtime_ns, str(path)))
    if newest.stat().st_mtime > time.time() + CLOCKS_APART:
        log.warning(
            "policy file %s is dated in the future, so it may not be the newest; name one by eval.checkpoint", newest
        )
    return newest


def _differences(card: PolicyCard, wanted: PolicyCard) -> list[str]:
    """What a head was trained with that is not the configuration's, as overrides; the backbone first."""
    backbone = [] if wanted.fingerprint in ("", card.fingerprint) else ["another backbone"]
    keys = {**MUST_EQUAL, "seed": "training.seed"}
    if card.objective != wanted.objective:  # only one of them knows it
        del keys["straight_through"]
    return backbone + [
        f"{key}={_said(getattr(card, name))}"
        for name, key in keys.items()
        if getattr(card, name) != getattr(wanted, name)
    ]


def _said(value: Any) -> str:
    """As an override; a card holds looks as JSON."""
    return str(value).replace('"', "") if value != "" else "null"


def _nearest(others: list[tuple[Path, PolicyCard]], wanted: PolicyCard) -> str:
    """The one that differs in least, and in what."""
    if not others:
        return ""
    path, card = min(others, key=lambda other: (len(_differences(other[1], wanted)), str(other[0])))
    return f"the nearest, {path}, was trained with {', '.join(_differences(card, wanted))}; "
