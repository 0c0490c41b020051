"""Data sets: files in, samples out."""

import re
import string

from vovnet.data.benchmarks import BENCHMARKS, Benchmark
from vovnet.data.easy_vqa import EasyVQA
from vovnet.data.sample import ImageRef, Sample, VQADataset
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig

__all__ = ["ImageRef", "Sample", "VQADataset", "load_dataset", "prompt_text"]

FIELD = re.compile(r"\{(question|Question|options|hint)\}")


def load_dataset(config: DatasetConfig, split: str) -> VQADataset:
    """Open one split; images stay on disk.

    Raises:
        VoVNetError: unknown name, missing file or malformed row.
    """
    if config.name == "easy_vqa":
        return EasyVQA(config, split)
    if config.name in BENCHMARKS:
        return Benchmark(BENCHMARKS[config.name], config, split)
    known = ", ".join(("easy_vqa", *BENCHMARKS))
    raise VoVNetError(f"dataset.name={config.name} is unknown; choose one of {known}.")


def prompt_text(dataset: VQADataset, sample: Sample) -> str:
    """The user's turn as the model sees it. The reference answer has no way into it.

    All fields are filled in one pass, so that braces inside a question stay what they are.
    """
    config = dataset.config
    template = config.prompt_template if sample.options or config.open_template is None else config.open_template
    lettered = zip(string.ascii_uppercase, sample.options, strict=False)
    values = {
        "question": sample.question,
        "Question": sample.question.capitalize(),
        "options": "\n".join(f"{letter}. {text}" for letter, text in lettered if text),
        "hint": f"{sample.hint} " if sample.hint else "",
    }
    return FIELD.sub(lambda match: values[match[1]], template)
