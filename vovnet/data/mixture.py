"""Several sets as one: questions in order, each with the prompt and the scoring of the set it comes from."""

import bisect
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

from vovnet.data.sample import PlainSet, Sample, VQADataset
from vovnet.schema import DatasetConfig


class Mixture:
    """A concatenation of splits; ids and groups carry the name of their set."""

    metric = "accuracy"

    def __init__(self, config: DatasetConfig, split: str, members: Sequence[VQADataset]) -> None:
        self.name, self.config, self.split = config.name, config, split
        self.members = tuple(plain for member in members for plain in member.members)
        self.starts = list(itertools.accumulate((len(m) for m in self.members), initial=0))
        self.skipped = tuple(row for member in self.members for row in member.skipped)
        prints = [(member.name, member.fingerprint) for member in self.members]
        self.fingerprint = hashlib.sha256(json.dumps(prints).encode()).hexdigest()

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Sample:
        member = self.member(index)
        sample = member[index - self.starts[self.members.index(member)]]
        return replace(sample, id=f"{member.name}:{sample.id}", group=f"{member.name}:{sample.group}")

    def member(self, index: int) -> PlainSet:
        """The set that a question comes from.

        Raises:
            IndexError: there is no such question.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no question {index}")
        return self.members[bisect.bisect_right(self.starts, index) - 1]
