"""Data sets: files in, samples out."""

from vovnet.data.easy_vqa import EasyVQA
from vovnet.data.sample import ImageRef, Sample, VQADataset
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig

__all__ = ["ImageRef", "Sample", "VQADataset", "load_dataset", "prompt_text"]

READERS = {"easy_vqa": EasyVQA}


def load_dataset(config: DatasetConfig, split: str) -> VQADataset:
    """Open one split; images stay on disk.

    Raises:
        VoVNetError: unknown name, missing file or malformed row.
    """
    if config.name not in READERS:
        raise VoVNetError(f"dataset.name={config.name} is unknown; choose one of {', '.join(READERS)}.")
    return READERS[config.name](config, split)


def prompt_text(dataset: VQADataset, sample: Sample) -> str:
    """The user's turn as the model sees it. The reference answer has no way into it."""
    return dataset.prompt_template.replace("{question}", sample.question)
