"""Keys of data sets, of the leak guard and of ``experiments.prepare``."""

import re
from dataclasses import asdict, field, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.code import Reader, ScorerCode, code_beside
from vovnet.schema.ranges import STRICT, Pattern, Place, Positive, Seed

Label = Annotated[str, Field(max_length=60, pattern=r"^[^\x00-\x1f=+@-][^\x00-\x1f]*$")]  # no formula, one line
PLACES = {"{question}", "{Question}", "{options}", "{hint}"}  # of a prompt template


@dataclass(frozen=True, config=STRICT)
class SplitFiles:
    """File patterns of each split, looked for under ``dataset.path``."""

    train: tuple[Pattern, ...]
    test: tuple[Pattern, ...]


@dataclass(frozen=True, config=STRICT)
class HubConfig:
    """Where a set lies on the hub; used while ``dataset.path`` is null."""

    id: str
    configs: tuple[str, ...]  # read one after another; empty takes the only one
    train: str | None  # upstream's name of our split
    test: str | None


@dataclass(frozen=True, config=STRICT)
class GenerateConfig:
    """How a mini set is drawn; the same numbers give the same files."""

    seed: Seed
    train_images: Positive
    test_images: Positive


@dataclass(frozen=True, config=STRICT)
class DatasetConfig:
    """Which questions, and the one prompt template that every policy and baseline uses.

    A template may show {question} or {Question} (first letter capital, the rest small), {options}
    (a line per option) and {hint}.
    """

    name: str
    path: Place | None  # a local file or folder; null takes easy-VQA's copy in its package
    files: SplitFiles
    prompt_template: str | None  # null in a mixture only
    open_template: str | None  # for questions without options; null takes prompt_template
    on_error: Literal["raise", "skip"]  # of a malformed row
    rule: Literal["lmms_eval", "vlmevalkit", "strict"] | None = (
        None  # MMBench: whose reading of letters; null elsewhere
    )
    hub: HubConfig | None = None
    generate: GenerateConfig | None = None  # the mini sets: written to `path` when it is not there
    reader: Reader = None  # of a set of one's own: a function (config, split) that gives samples
    scorer: ScorerCode = None  # null takes the set's own; `plain` for a set of one's own
    metric: str | None = None  # what the score is called
    interleave: bool = False  # MMMU: whether images stand at the marks <image k> of the prompt, or together
    label: Label | None = None  # what tables, figures and the page call it; null takes its name
    parts: dict[str, "DatasetConfig"] = field(default_factory=dict)  # a mixture: sets that are read one after another

    @model_validator(mode="after")
    def _mixture_has_no_files(self) -> "DatasetConfig":
        if self.parts and self.path is not None:
            raise ValueError("a mixture has no path of its own; give dataset.parts.NAME.path")
        return self

    @model_validator(mode="after")
    def _rule_is_of_mmbench(self) -> "DatasetConfig":
        if self.rule is not None and self.name.removeprefix("mini_") != "mmbench":
            instead = "give dataset.parts.NAME.rule of an MMBench part" if self.parts else "leave it out"
            raise ValueError(f"rule says how MMBench's letters are read, which {self.name} has none of; {instead}")
        return self

    @model_validator(mode="after")
    def _marks_are_of_mmmu(self) -> "DatasetConfig":
        if self.interleave and self.name.removeprefix("mini_") != "mmmu":
            instead = "give dataset.parts.NAME.interleave of an MMMU part" if self.parts else "leave it out"
            raise ValueError(f"interleave shows images at MMMU's marks <image k>, which {self.name} lacks; {instead}")
        return self

    @property
    def interleaved(self) -> bool:
        """Whether its questions, or those of a part, show images at their marks."""
        return self.interleave or any(part.interleaved for part in self.parts.values())

    def facts(self) -> dict[str, Any]:
        """What decides on results, for hashes: ``interleave``, which is newer than some, only where it is set."""
        idle = {"label"} if self.interleave else {"label", "interleave"}
        found = asdict(self) | {"parts": {name: part.facts() for name, part in self.parts.items()}}
        return {key: value for key, value in found.items() if key not in idle}

    @model_validator(mode="after")
    def _template_shows_question(self) -> "DatasetConfig":
        if (self.prompt_template is None) != bool(self.parts):
            raise ValueError("prompt_template must be set, except in a mixture, whose parts bring their own")
        for template in (text for text in (self.prompt_template, self.open_template) if text is not None):
            if "{question}" not in template and "{Question}" not in template:
                raise ValueError("prompt_template and open_template must contain {question}")
            if unknown := set(re.findall(r"\{\w+\}", template)) - PLACES:
                raise ValueError(f"a template shows {min(unknown)}, which is none of {', '.join(sorted(PLACES))}")
        return self


OWN_SET: dict[str, Any] = {  # what the YAML of a set of one's own need not say
    "path": None,
    "files": {"train": [], "test": []},
    "prompt_template": "{question}",
    "open_template": None,
    "on_error": "raise",
}
DATASET_KEYS = frozenset(f.name for f in fields(DatasetConfig))
Dataset = Annotated[DatasetConfig, BeforeValidator(code_beside("reader", OWN_SET, DATASET_KEYS))]


@dataclass(frozen=True, config=STRICT)
class LeaksConfig:
    """What the leak guard lets pass; recorded in every summary."""

    allow: tuple[Literal["image", "question", "split"], ...]


@dataclass(frozen=True, config=STRICT)
class PrepareConfig:
    """What ``experiments.prepare`` compares the training set with, and what it leaves behind."""

    evaluation: dict[str, Dataset]
    out: Place | None  # a folder for the training set as JSONL with its images; null writes none
    drop: bool  # leave rows that leak out of it instead of refusing
