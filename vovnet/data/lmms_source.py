"""Opening a task of lmms-eval: its YAML, its functions and its data; and why some tasks cannot be asked.

A task's YAML names Python by ``!function``, which runs when the YAML is read. So a task is opened only where the user's
own configuration names it, as any ``_target_`` is.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile

from vovnet.data.lmms_calls import asks_server
from vovnet.errors import VoVNetError, first_line
from vovnet.files import open_file

log = logging.getLogger(__name__)
NAMED = re.compile(r"^(task|group|tag):[ \t]*[\"']?([\w.-]+)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)
INSTALL = "`pip install 'vovnet[lmms]'` and `pip install --no-deps lmms-eval==0.7.3`"
OTHER_OUTPUT = {
    "loglikelihood": "it compares the likelihoods of given texts, and VoVNet generates answers",
    "multiple_choice": "it compares the likelihoods of given options, and VoVNet generates answers",
    "generate_until_multi_round": "it asks in several turns",
    "generate_until_agentic": "it asks in several turns and runs tools",
    "generate_visual_cot": "it generates images",
}


@dataclass(frozen=True)
class TaskOptions:
    """What names a task.

    Attributes:
        include_path: a folder with task YAMLs of one's own, or one such file; looked into before lmms-eval's.
        model: whose ``lmms_eval_specific_kwargs`` (prompt texts) are taken; None: the default ones.
        path: a local copy of the task's data set.
    """

    task: str
    include_path: str | None = None
    model: str | None = None
    path: str | None = None


class OpenTask:
    """A task on one split; a copy in another process opens it anew.

    Attributes:
        task: lmms-eval's ``ConfigurableTask``.
        docs: the split's rows without images; ``whole`` are the rows with them.
        file: the task's YAML.
        source: hash of the YAML, of the Python files beside it and of what it names, and lmms-eval's version.

    Raises:
        VoVNetError: there is no such task, it cannot be asked, or its data are not here.
    """

    def __init__(self, options: TaskOptions, split: str) -> None:
        self.options, self.split = options, split
        self.file = find_yaml(options)
        config = _read_yaml(self.file)
        if why := why_not(config):
            raise VoVNetError(f"the lmms-eval task {options.task} cannot be asked: {why}; choose another task.")
        self.source = _source_hash(self.file, config)
        self.task = _opened(options, self.file, config)
        evaluated = self.task.config.test_split or self.task.config.validation_split
        name = self.task.config.training_split if split == "train" else evaluated
        if name is None:
            raise VoVNetError(
                f"the lmms-eval task {options.task} has no {split} split; name one by training_split in a YAML of your "
                "own that includes the task's, and give dataset.include_path."
            )
        self.docs, self.whole = self.task.dataset_no_image[name], self.task.dataset[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.options, self.split)

    @property
    def config(self) -> Any:
        """lmms-eval's ``TaskConfig``."""
        return self.task.config

    def visuals(self, row: int) -> list[Image.Image]:
        """What a row shows.

        Raises:
            VoVNetError: a video, a sound, or something else that is no image.
        """
        found = self.task.doc_to_visual(self.whole[row]) or []
        for one in found:
            if not isinstance(one, Image.Image):
                raise VoVNetError(
                    f"the lmms-eval task {self.options.task} cannot be asked: row {row} shows {str(one)[:60]!r}, "
                    f"a {type(one).__name__}, and VoVNet shows images (no video, no sound)."
                )
        return list(found)


@cache
def _reopened(options: TaskOptions, split: str) -> OpenTask:
    """The task in a worker process."""
    return OpenTask(options, split)


def find_yaml(options: TaskOptions) -> Path:
    """The YAML file that defines a task.

    Raises:
        VoVNetError: lmms-eval is not installed, or no file defines the task.
    """
    spec = importlib.util.find_spec("lmms_eval")
    if spec is None or not spec.submodule_search_locations:
        raise VoVNetError(f"dataset=lmms needs lmms-eval; run {INSTALL}.")
    places = [Path(spec.submodule_search_locations[0]) / "tasks"]
    if options.include_path is not None:
        own = Path(options.include_path).expanduser()
        if not own.exists():
            raise VoVNetError(f"dataset.include_path={own} does not exist; name a folder with task YAMLs.")
        places.insert(0, own)
    tasks, groups = set[str](), set[str]()
    for place in places:
        for file in [place] if place.is_file() else sorted(place.rglob("*.yaml")):
            for kind, name in NAMED.findall(_bytes(file).decode("utf-8", errors="replace")):
                if kind == "task" and name == options.task:
                    return file
                (tasks if kind == "task" else groups).add(name)
    if options.task in groups:
        raise VoVNetError(f"{options.task} is a group of lmms-eval tasks; give dataset.task=NAME of one of them.")
    close = ", ".join(difflib.get_close_matches(options.task, tasks, 3)) or "none"
    raise VoVNetError(
        f"there is no lmms-eval task {options.task} in {' or '.join(map(str, places))} (similar names: {close}); give "
        "dataset.task=NAME, and dataset.include_path=FOLDER for a YAML of your own."
    )


def why_not(config: Mapping[str, Any]) -> str:
    """Why VoVNet cannot ask a task, by its YAML alone; empty where it can."""
    output, kwargs = config.get("output_type") or "generate_until", config.get("dataset_kwargs") or {}
    if "class" in config:
        return "it is a Python class of its own"
    if output != "generate_until":
        return OTHER_OUTPUT.get(output, f"its output_type is {output}")
    if kwargs.get("video") or "From_YouTube" in kwargs:
        return "it shows videos"
    if config.get("doc_to_visual") is None:
        return "its questions show no image"
    if (config.get("repeats") or 1) > 1:
        return f"it asks each question {config['repeats']} times"
    if client := asks_server(config.get("process_results")):
        return f"process_results asks a judge or server by {client}"
    return "its questions show examples (num_fewshot)" if config.get("num_fewshot") else ""


def _read_yaml(file: Path) -> dict[str, Any]:
    """A task's YAML with what it includes; runs the Python that it names."""
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        importlib.import_module("lmms_eval.api.task")  # lets Pillow decode truncated images, in the whole process
        from lmms_eval.utils import load_yaml_config
        from loguru import logger

        logger.disable("lmms_eval")
        return dict(load_yaml_config(str(file), mode="full"))
    except Exception as error:  # whatever a task's own code raises
        if type(error).__module__.partition(".")[0] == "openai":
            raise VoVNetError(
                f"{file} asks a judge or server by openai as soon as it is read; choose a task that scores by itself."
            ) from error
        said = f"{type(error).__name__}: {first_line(error)}"
        raise VoVNetError(f"{file} cannot be read ({said}); repair it, or install what it needs.") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated


def _opened(options: TaskOptions, file: Path, config: dict[str, Any]) -> Any:
    """The task with its data, from this machine or the hub."""
    from lmms_eval.api.task import ConfigurableTask

    if options.path is not None:
        config["dataset_path"] = str(Path(options.path).expanduser())
        config["dataset_kwargs"] = {k: v for k, v in (config.get("dataset_kwargs") or {}).items() if k != "token"}
    try:
        return ConfigurableTask(config=config, model_name=options.model)
    except Exception as error:  # whatever reading a data set raises
        cause = cause_of(error)
        raise VoVNetError(
            f"the data of the lmms-eval task {options.task} ({config.get('dataset_path')}) cannot be opened "
            f"({type(cause).__name__}: {first_line(cause)}); download the data set of this id from the hub and set "
            f"dataset.path=FOLDER, or repair {file}."
        ) from error


def cause_of(error: BaseException) -> Exception:
    """The error that others, such as tenacity's after several attempts, were raised from."""
    attempt = getattr(error, "last_attempt", None)
    inside = error.__cause__ if attempt is None else attempt.exception()
    return error if inside is None else cause_of(inside)  # type: ignore[return-value]  # of what was caught


def _source_hash(file: Path, config: Mapping[str, Any]) -> str:
    """16 hex digits over all that determines what a task asks and how it scores."""
    named = {inspect.getsourcefile(part) for part in _functions(config)}
    files = {*file.parent.glob("*.py"), *(Path(name) for name in named if name)}
    said = json.dumps(config, sort_keys=True, default=lambda part: getattr(part, "__qualname__", repr(part)))
    digest = hashlib.sha256(f"{version('lmms-eval')} {said}".encode())
    for part in sorted(files):
        digest.update(part.name.encode() + _bytes(part))
    return digest.hexdigest()[:16]


def _bytes(file: Path) -> bytes:
    with open_file(file) as opened:
        return opened.read()


def _functions(value: Any) -> list[Any]:
    """The functions that a task's YAML names, at any depth."""
    if isinstance(value, Mapping):
        return [part for inner in value.values() for part in _functions(inner)]
    if isinstance(value, list):
        return [part for inner in value for part in _functions(inner)]
    return [value] if inspect.isfunction(value) or inspect.isclass(value) else []
