"""Data sets: files in, samples out."""

import logging
import os
import re
import string
from dataclasses import replace
from pathlib import Path

from vovnet.data.benchmarks import KINDS, Benchmark
from vovnet.data.easy_vqa import EasyVQA
from vovnet.data.mixture import Mixture
from vovnet.data.outside import outside_set
from vovnet.data.sample import ImageRef, Sample, VQADataset
from vovnet.errors import VoVNetError
from vovnet.schema import DatasetConfig
from vovnet.session import Session
from vovnet.terminal import counted

__all__ = ["ImageRef", "Item", "Sample", "VQADataset", "item", "load_dataset", "of_part", "prompt_text"]

log = logging.getLogger(__name__)
Item = tuple[int, Sample, str]  # index in the data set, sample, prompt text
KEPT = 4  # splits that a session keeps; a training and what it is compared with
FIELD = re.compile(r"\{(question|Question|options|hint)\}")


def load_dataset(
    config: DatasetConfig, split: str, only_local: bool = False, session: Session | None = None
) -> VQADataset:
    """Open one split, once a session; images stay on disk.

    A mini set that is not there yet is drawn first, and a set of the hub is downloaded.

    Args:
        only_local: draw, download and write nothing. For a configuration that came with a file: whoever wrote the
            file chose its paths, sizes and repositories.

    Raises:
        VoVNetError: unknown name, missing file or malformed row; with ``only_local`` what is not on this machine.
    """
    asked = (repr(config), split, only_local)
    return (session or Session()).once("dataset", asked, lambda: _counted(_open(config, split, only_local)), KEPT)


def _counted(dataset: VQADataset) -> VQADataset:
    """The same set; says how many of its rows are no question."""
    if dataset.skipped:
        name, count, first = f"{dataset.name}/{dataset.split}", len(dataset.skipped), dataset.skipped[0]
        log.warning("%s: %s skipped (dataset.on_error=skip), the first since %s", name, counted(count, "row"), first)
    return dataset


def of_part(name: str, error: object) -> VoVNetError:
    """What to say of a part of a mixture that cannot be opened."""
    return VoVNetError(
        f"{error} It is a part of a mixture: set dataset.parts.{name}.path, or give ~dataset.parts.{name}."
    )


def _open(config: DatasetConfig, split: str, only_local: bool) -> VQADataset:
    if config.parts:
        skip = config.on_error == "skip"  # said of the mixture, it holds for every part
        parts = {n: replace(part, on_error="skip") if skip else part for n, part in config.parts.items()}
        opened = {}
        for name, part in parts.items():
            try:
                opened[name] = _open(part, split, only_local)
            except VoVNetError as error:
                raise of_part(name, error) from error
        return Mixture(config, split, opened)
    if only_local and config.path is not None:
        _refuse_system(config.path)
    if config.reader is not None:
        return outside_set(config.reader, config, split)
    if config.name == "easy_vqa":
        return EasyVQA(config, split)
    if config.generate is not None and config.path is not None:
        from vovnet.data.mini.generate import ensure_mini  # draws; needs matplotlib's typefaces

        ensure_mini(config.name, Path(config.path).expanduser(), config.generate, only_local)
    if config.name in KINDS:
        return Benchmark(KINDS[config.name], config, split, only_local)
    known = ", ".join(("easy_vqa", *KINDS))
    raise VoVNetError(
        f"dataset.name={config.name} is unknown; choose one of {known}, or name your own reader by dataset.reader."
    )


def _refuse_system(path: str) -> None:
    """Refuse to search the whole machine for files, or the system's own, some of which are waited for like a pipe.

    Raises:
        VoVNetError: names the path.
    """
    parts = Path(os.path.realpath(Path(path).expanduser())).parts  # Path.resolve raises where links go in circles
    if len(parts) < 2 or parts[1] in ("proc", "sys"):
        raise VoVNetError(f"dataset.path={path} is no place for a data set; name the folder that holds it.")


def item(dataset: VQADataset, index: int) -> Item:
    """A question as the model is asked it, under the prompt of the set it comes from."""
    sample = dataset[index]
    return index, sample, prompt_text(dataset.member(index), sample)


def prompt_text(dataset: VQADataset, sample: Sample) -> str:
    """The user's turn as the model sees it. The reference answer has no way into it.

    All fields are filled in one pass, so that braces inside a question stay what they are.
    """
    config = dataset.config
    template = config.prompt_template if sample.options or config.open_template is None else config.open_template
    if template is None:
        raise ValueError(f"{dataset.name} is a mixture; ask the member that the question comes from")
    lettered = zip(string.ascii_uppercase, sample.options, strict=False)
    values = {
        "question": sample.question,
        "Question": sample.question.capitalize(),
        "options": "\n".join(f"{letter}. {text}" for letter, text in lettered if text),
        "hint": f"{sample.hint} " if sample.hint else "",
    }
    return FIELD.sub(lambda match: values[match[1]], template)
