"""Calibrating a lambda for a configuration, on questions that its policy was not trained on."""

import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vovnet.actions import Action
from vovnet.analyses.calibrate import Calibrated, HeldOut, calibrate, per_dataset
from vovnet.data import load_dataset
from vovnet.data.mixture import split_rows
from vovnet.errors import VoVNetError
from vovnet.files import write_json
from vovnet.outcomes.judge import unread_shares, warn_of_unread
from vovnet.outcomes.load import load_outcomes
from vovnet.outcomes.units import paid_each, unit_of
from vovnet.policy.vovnet import Sequential, VoVNet
from vovnet.provenance import SUMMARY, provenance
from vovnet.results.setting import make_policy
from vovnet.results.split import look_for_leaks
from vovnet.results.write import write_rows
from vovnet.schema import Fraction, Positive, RunConfig, Seed
from vovnet.session import Session
from vovnet.vlm.files import find_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class SplitOptions:
    """The options of a training that say which questions it held out."""

    max_samples: Positive | None
    val_fraction: Fraction
    seed: Seed


def held_out(
    config: RunConfig, session: Session | None = None
) -> tuple[HeldOut, list[str], Path, list[dict[str, Any]]]:
    """Held-out questions, the data set each comes from, the policy file whose values they carry, and the leak guard's
    verdicts on them.

    Of the split that the policy was trained on they are those that it was validated on, which its file tells, whatever
    the configuration says of a training. Of another one they are the configured share, if the leak guard finds none of
    them in the policy's training data.

    Raises:
        VoVNetError: a baseline is configured, the policy has seen these questions, or does not say which it has seen.
    """
    session = session or Session()
    checkpoint = find_checkpoint(config.backbone, session=session)
    policy = make_policy(config, session)
    if not isinstance(policy, VoVNet) or policy.file is None:
        raise VoVNetError("a lambda is calibrated for a trained policy; leave policy/baseline and fallback_mode out.")
    dataset = load_dataset(config.dataset, "train", session=session)
    own = config.training
    options, leaks = SplitOptions(own.max_samples, own.val_fraction, own.seed), list[dict[str, Any]]()
    if policy.head.card.data_fingerprint != dataset.fingerprint:
        leaks = look_for_leaks(config, checkpoint, policy.head.card, dataset, session)
        if unknown := [verdict["why"] for verdict in leaks if verdict["passed"] is None]:
            raise VoVNetError(
                f"whether policy file {policy.file} was trained on these questions is not known ({unknown[0]}); "
                "calibrate on the data set that it was trained on."
            )
    elif policy.head.card.training_config:
        try:
            options = TypeAdapter(SplitOptions).validate_json(policy.head.card.training_config)
        except ValidationError as error:
            raise VoVNetError(
                f"the training options in policy file {policy.file} are damaged ({error.errors()[0]['msg']}); train it "
                "again."
            ) from error
    else:
        raise VoVNetError(
            f"policy file {policy.file} does not say which questions it was not trained on; train it again."
        )
    if policy.looks[-1] != Action.FULL:
        raise VoVNetError(
            f"a lambda is calibrated against always looking in FULL, and this menu ends with {policy.looks[-1].label}; "
            "calibrate a policy whose menu ends with full."
        )
    groups, is_held_out = split_rows(dataset, options.max_samples, options.val_fraction, options.seed)
    rows = np.flatnonzero(is_held_out)
    outcomes = load_outcomes(
        config, checkpoint, dataset, policy.looks, len(groups), session=session, states=policy.states
    ).outcomes
    warn_of_unread(unread_shares(outcomes, policy.looks, rows), "lambda is calibrated on")
    costs = paid_each(unit_of(config, checkpoint, policy.looks), outcomes, policy.looks)
    part = HeldOut(
        name="all" if len(dataset.members) > 1 else dataset.name,
        values=policy.estimates(outcomes.text, costs)[rows],
        scores=outcomes.stacked("score", policy.looks)[rows],
        costs=costs[rows],
        groups=np.array(groups)[rows],
        outputs=policy.all_outputs(outcomes, rows) if isinstance(policy, Sequential) else (),
    )
    return part, [dataset.member(int(i)).name for i in rows], policy.file, leaks


def calibrate_policy(config: RunConfig, folder: Path, session: Session) -> list[Calibrated]:
    """Calibrate one lambda for all data sets and one for each; write ``calibration.csv`` and summary.json."""
    asked = config.calibrate
    if asked is None or (asked.cost is None and asked.accuracy_kept is None):
        raise VoVNetError("give calibrate.cost=0.3 (a budget) or calibrate.accuracy_kept=0.99 (of FULL's).")
    everything, names, policy_file, leaks = held_out(config, session)
    found = [calibrate(everything, asked.cost, asked.accuracy_kept)]
    for part in per_dataset(everything, names):
        try:
            found.append(calibrate(part, asked.cost, asked.accuracy_kept))
        except VoVNetError as error:  # one set out of reach takes nothing from the others
            log.warning("left out: %s", error)
    lines = [asdict(one) for one in found]
    (folder / SUMMARY).unlink(missing_ok=True)  # where there is one, the table belongs to it
    write_rows(folder / "calibration.csv", lines, [f.name for f in fields(Calibrated)])
    facts = {"config": asdict(config), "policy_file": str(policy_file), "calibration": lines, "leak_guard": leaks}
    write_json(folder / SUMMARY, facts | provenance(session))
    return found
