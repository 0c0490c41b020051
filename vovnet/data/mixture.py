"""Data sets of several parts, and splits by image group."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vovnet.data.sample import PlainSet, Sample, VQADataset
from vovnet.schema import DatasetConfig

RUN = 64  # questions of one set in a row: those about one image stay together


class Mixture:
    """Splits interleaved, so that any first part holds each in proportion; ids and groups carry their set's name."""

    metric = "accuracy"

    def __init__(self, config: DatasetConfig, split: str, members: Mapping[str, VQADataset]) -> None:
        self.name, self.config, self.split = config.name, config, split
        self.members = tuple(plain for member in members.values() for plain in member.members)
        kinds = Counter(one.name for one in self.members)
        parts = [part for part, member in members.items() for _ in member.members]
        # Two parts of one kind are told apart by their keys.
        self._names = [
            one.name if kinds[one.name] == 1 else part for part, one in zip(parts, self.members, strict=True)
        ]
        self.order = interleaved([len(member) for member in self.members])
        self.skipped = tuple(row for member in self.members for row in member.skipped)
        prints = [(member.name, member.fingerprint) for member in self.members]
        # The order is part of the content: outcomes are stored by a question's place.
        self.fingerprint = hashlib.sha256(json.dumps([RUN, prints]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Sample:
        sample = self.member(index)[int(self.order[index, 1])]
        name = self._names[int(self.order[index, 0])]
        return replace(sample, id=f"{name}:{sample.id}", group=f"{name}:{sample.group}")

    def member(self, index: int) -> PlainSet:
        """The set that a question comes from.

        Raises:
            IndexError: there is no such question.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no question {index}")
        return self.members[int(self.order[index, 0])]

    def place(self, index: int) -> int:
        """A question's place in the set that it comes from."""
        return int(self.order[index, 1])


def interleaved(sizes: Sequence[int]) -> np.ndarray:
    """(set, place in it) of every question of a mixture, int64 [N, 2]: each set in its own order, evenly spread."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    runs = -(-np.asarray(sizes) // RUN)  # of each set, rounded up
    when = (place // RUN + 0.5) / np.maximum(runs, 1)[owner]
    return np.stack([owner, place], axis=1)[np.lexsort((place, owner, when))]


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
