"""Holding out a validation part of a training split."""

from collections.abc import Sequence

import numpy as np

from vovnet.data import VQADataset


def split_rows(
    dataset: VQADataset, max_samples: int | None, val_fraction: float, seed: int
) -> tuple[list[str], np.ndarray]:
    """Group of each question that a training collects, and whether it is held out for validation; both [N]."""
    count = min(len(dataset), max_samples or len(dataset))
    groups = [dataset[i].group for i in range(count)]
    _, apart = split_groups(groups, val_fraction, seed)
    return groups, np.array([group in apart for group in groups])


def split_groups(groups: Sequence[str], val_fraction: float, seed: int) -> tuple[set[str], set[str]]:
    """Divide distinct groups (images) into training and validation; no image is in both.

    At least one group lands on each side where there are two or more.
    """
    distinct = sorted(set(groups))
    order = np.random.default_rng([seed, len(distinct)]).permutation(len(distinct))
    held_out = min(max(1, round(val_fraction * len(distinct))), len(distinct) - 1)
    validation = {distinct[i] for i in order[:held_out]}
    return set(distinct) - validation, validation
