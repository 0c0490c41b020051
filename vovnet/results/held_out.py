"""The training split's questions that a policy was validated on, not trained on, with its value estimates."""

from pathlib import Path

import numpy as np

from vovnet.backbone.budget import make_budget
from vovnet.backbone.files import find_checkpoint
from vovnet.data import load_dataset
from vovnet.errors import VoVNetError
from vovnet.outcomes.load import load_outcomes
from vovnet.policy.policies import VoVNetPolicy, make_policy
from vovnet.results.calibrate import HeldOut
from vovnet.schema import PolicyTraining, RunConfig
from vovnet.training.split import split_rows


def held_out(config: RunConfig) -> tuple[HeldOut, list[str], Path]:
    """Held-out questions, the data set each comes from, and the policy file whose values they carry.

    Raises:
        VoVNetError: a baseline is configured, or there are no such questions.
    """
    checkpoint = find_checkpoint(config.backbone)
    policy, policy_file = make_policy(config, checkpoint)
    if not isinstance(policy, VoVNetPolicy) or policy_file is None or not isinstance(config.training, PolicyTraining):
        raise VoVNetError("a lambda is calibrated for a trained policy; leave policy/baseline and fallback_mode out.")
    dataset = load_dataset(config.dataset, "train")
    groups, is_held_out = split_rows(dataset, config.training)
    rows = np.flatnonzero(is_held_out)
    if not len(rows):
        raise VoVNetError("no question is held out; raise training.val_fraction or training.max_samples.")
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
