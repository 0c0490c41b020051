"""The training split's questions that a policy was validated on, not trained on, with its value estimates."""

import json
from pathlib import Path

import numpy as np

from vovnet.backbone.budget import make_budget
from vovnet.backbone.files import find_checkpoint
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.policy.policies import VoVNetPolicy, make_policy
from vovnet.results.calibrate import HeldOut
from vovnet.schema import RunConfig
from vovnet.training.split import split_rows


def held_out(config: RunConfig) -> tuple[HeldOut, list[str], Path]:
    """Held-out questions, the data set each comes from, and the policy file whose values they carry.

    Which these are stands in the policy file, whatever the configuration says of a training.

    Raises:
        VoVNetError: a baseline is configured, the policy was trained on other data than the configured set's or does
            not say how, or there are no such questions.
    """
    checkpoint = find_checkpoint(config.backbone)
    policy, policy_file = make_policy(config, checkpoint)
    if not isinstance(policy, VoVNetPolicy) or policy_file is None:
        raise VoVNetError("a lambda is calibrated for a trained policy; leave policy/baseline and fallback_mode out.")
    dataset = load_dataset(config.dataset, "train")
    card = policy.card
    if not card.training_config:
        raise VoVNetError(
            f"policy file {policy_file} does not say which questions it was not trained on; train it again."
        )
    if card.data_fingerprint != dataset.fingerprint:
        raise VoVNetError(
            f"policy file {policy_file} was trained on {card.dataset}, which is not the train split of {dataset.name} "
            f"as it is now; set dataset={card.dataset} as in its training, or train it again."
        )
    trained = json.loads(card.training_config)
    groups, is_held_out = split_rows(dataset, trained["max_samples"], trained["val_fraction"], card.seed)
    rows = np.flatnonzero(is_held_out)
    outcomes = load_outcomes(config, checkpoint, dataset, policy.actions, len(groups)).outcomes
    budget = make_budget(config.vision_budget, checkpoint.patch_size, checkpoint.merge_size)
    costs = outcomes.stacked("vision_tokens", policy.actions) / budget.max_tokens
    part = HeldOut(
        name="all" if len(dataset.members) > 1 else dataset.name,
        values=policy.values(outcomes.text)[rows],
        scores=outcomes.stacked("score", policy.actions)[rows],
        costs=costs[rows],
        groups=np.array(groups)[rows],
    )
    return part, [dataset.member(int(i)).name for i in rows], policy_file
