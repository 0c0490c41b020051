"""Sets that are read from table files: MMBench, MMMU, TextVQA, LLaVA-Instruct and plain JSONL.

Everything but images is read at once; images stay in their files until they are looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vovnet.data.hub import hub_table
from vovnet.data.images import OpenFiles
from vovnet.data.jsonl import read_jsonl, read_llava
from vovnet.data.mmbench import read_mmbench
from vovnet.data.mmmu import read_mmmu
from vovnet.data.rows import RowErrors, files_under, without_broken_images
from vovnet.data.sample import PlainSet, Sample
from vovnet.data.tables import Row, table_rows
from vovnet.data.textvqa import read_textvqa
from vovnet.errors import VoVNetError
from vovnet.fingerprint import fingerprint_files
from vovnet.schema import DatasetConfig

Read = Callable[[Path, Iterator[Row], RowErrors], Iterator[Sample]]


@dataclass(frozen=True)
class Kind:
    """A benchmark's way of reading and scoring.

    Attributes:
        scorer: name in ``vovnet.scoring``, before the rule where there are several.
        metric: what the score is called.
        advice: what to download where the files are missing.
        rule: the scorer's rule where ``dataset.rule`` names none; None where it has but one.
    """

    scorer: str
    metric: str
    advice: str
    read: Read
    rule: str | None = None


KINDS = {
    "mmbench": Kind(
        "mmbench",
        "accuracy",
        "download MMBench_DEV_EN.tsv from the OpenCompass page of MMBench, or the hub's parquet of `lmms-lab/MMBench`.",
        read_mmbench,
        rule="lmms_eval",
    ),
    "mmmu": Kind(
        "mmmu",
        "accuracy",
        "download the hub's `MMMU/MMMU`, whose folders hold one validation-*.parquet per subject.",
        read_mmmu,
    ),
    "textvqa": Kind(
        "textvqa",
        "vqa_accuracy",
        "download TextVQA_0.5.1_val.json with its train_images folder beside it, or the hub's `lmms-lab/textvqa`.",
        read_textvqa,
    ),
    "llava": Kind(
        "token_f1",
        "token_f1",
        "download llava_instruct_150k.json (hub: `liuhaotian/LLaVA-Instruct-150K`) and put COCO's train2017 beside it.",
        read_llava,
    ),
    "jsonl": Kind("plain", "accuracy", "see vovnet/data/jsonl.py for the format of the lines.", read_jsonl),
}
# The mini sets are read as what they imitate.
KINDS |= {f"mini_{name}": KINDS[name] for name in ("mmbench", "mmmu", "textvqa")}


class Benchmark(PlainSet):
    """One split of a set, in file order."""

    def __init__(self, kind: Kind, config: DatasetConfig, split: str, only_local: bool = False) -> None:
        self.name, self.metric, self.rule = config.name, config.metric or kind.metric, config.rule or kind.rule
        self.scorer = kind.scorer if self.rule is None else f"{kind.scorer}/{self.rule}"
        if config.scorer is not None:
            self.scorer, self.rule = config.scorer, None
        self.split, self.config = split, config
        errors = RowErrors(config.on_error)
        tables = _tables(kind, config, split, only_local)
        read: Read = partial(read_mmmu, interleave=True) if config.interleave else kind.read
        samples = [sample for path, rows in tables for sample in read(path, rows, errors)]
        if config.on_error == "skip":
            samples = without_broken_images(samples, errors)
        self._samples, self.skipped = samples, tuple(errors.skipped)
        files = {path for path, _ in tables}
        self.files = tuple(sorted(files))
        if not samples:
            found = ", ".join(str(file) for file in sorted(files))
            raise VoVNetError(f"no usable question in {found}; {errors.why_none(kind.advice)}")
        # Images in files of their own count too: another image is another outcome.
        content = fingerprint_files(files | {i.path for sample in samples for i in sample.images})
        self.fingerprint = errors.kept(content, samples)


def _tables(kind: Kind, config: DatasetConfig, split: str, only_local: bool) -> list[tuple[Path, Iterator[Row]]]:
    """The split's files with their rows: under ``dataset.path``, else from the hub."""
    patterns = config.files.train if split == "train" else config.files.test
    if not patterns:
        raise VoVNetError(f"dataset={config.name} has no {split} split; its published files are for evaluation.")
    opened = OpenFiles()
    if config.path is not None:
        found = files_under(Path(config.path).expanduser(), patterns, split, kind.advice)
        return [(path, table_rows(path, opened)) for path in found]
    if config.hub is None:
        raise VoVNetError(f"dataset={config.name} needs dataset.path=FILE or FOLDER; {kind.advice}")
    return hub_table(config.name, config.hub, split, kind.advice, opened, only_local)
