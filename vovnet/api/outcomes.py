"""Data sets, models, and the outcomes of one on the other."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vovnet.actions import Action
from vovnet.compose import compose_typed, quoted, rebuilt, searched
from vovnet.data import VQADataset
from vovnet.data import load_dataset as open_split
from vovnet.errors import VoVNetError
from vovnet.options import groups
from vovnet.outcomes.foreign_files import read_folder, read_frame
from vovnet.outcomes.known import Outcomes, known_outcomes
from vovnet.outcomes.transfer import import_from
from vovnet.registry import TRUSTED
from vovnet.schema import BackboneConfig, DatasetConfig, VisionBudgetConfig
from vovnet.session import Session
from vovnet.vlm.auto import settled
from vovnet.vlm.imported import FOLDER

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class Dataset:
    """Questions about images; nothing is read before it is needed."""

    config: DatasetConfig

    def split(self, name: str) -> VQADataset:
        """The samples of ``train`` or ``test``."""
        return open_split(self.config, name)


@dataclass(frozen=True)
class VLM:
    """A vision-language model and what an image may cost; weights are loaded when outcomes are missing."""

    config: BackboneConfig
    budget: VisionBudgetConfig


@dataclass(frozen=True)
class Collection:
    """Outcomes by split."""

    splits: dict[str, Outcomes]

    @property
    def train(self) -> Outcomes:
        """What policies are trained on."""
        return self._split("train")

    @property
    def test(self) -> Outcomes:
        """What they are evaluated on."""
        return self._split("test")

    def _split(self, name: str) -> Outcomes:
        if name not in self.splits:
            raise VoVNetError(f"these outcomes hold no split {name}; call collect(…, splits=[{name!r}]).")
        return self.splits[name]


def load_dataset(name: str = "easy_vqa", /, *, config_dir: str | Path | None = None, **options: Any) -> Dataset:
    """A data set by the name of its option (``conf/dataset``), with other values for its keys.

    Args:
        config_dir: a folder of option files of your own beside VoVNet's.

    Example:
        ``load_dataset("jsonl", path="my_questions")``

    Raises:
        VoVNetError: no such option, or a value that a key does not take.
    """
    known = {field.name for field in fields(DatasetConfig)}
    own = {key: value for key, value in options.items() if key in known}
    # The others are options of the set's own reader, which only its YAML knows.
    given = [f"dataset.{key}={_override(value)}" for key, value in options.items() if key not in known]
    return Dataset(with_options(compose_typed("eval", [f"dataset={name}", *given, *searched(config_dir)]).dataset, own))


def load_vlm(name: str = "tiny", /, **options: Any) -> VLM:
    """A model by the name of its option (``conf/backbone``), a local folder, or an id of the hub.

    Args:
        options: other values for keys of the backbone, such as ``dtype="float32"``.

    Raises:
        VoVNetError: there is no such model, or a value that a key does not take.
    """
    if name in groups()["backbone"]:
        config = compose_typed("eval", [f"backbone={name}"])
        return VLM(with_options(config.backbone, options), config.vision_budget)
    is_folder = Path(name).expanduser().is_dir()
    if not is_folder and not HUB_ID.fullmatch(name):
        known = ", ".join(groups()["backbone"])
        raise VoVNetError(
            f"there is no model {name}; choose one of {known}, or give a folder that exists or an id of the hub, "
            "such as Qwen/Qwen3-VL-2B-Instruct."
        )
    config = compose_typed("eval", ["backbone=folder"])
    place = {"path": name} if is_folder else {"name": name}
    return VLM(with_options(config.backbone, {**place, **options}), config.vision_budget)


def collect(
    vlm: VLM,
    dataset: Dataset,
    *,
    splits: Sequence[str] = ("train", "test"),
    max_samples: int | None = None,
    runs: str | Path = "multirun",
    looks: Sequence[Any] | None = None,
    session: Session | None = None,
    **options: Any,
) -> Collection:
    """Run NO, COARSE and FULL, or a menu's looks, once on every question; what the store holds already is read.

    Args:
        max_samples: questions of each split; None takes all.
        runs: folder of results; the store is ``outcomes`` in it.
        looks: a menu of your own, as ``train_policy`` takes it.
        options: other values for keys under ``eval``, such as ``batch_size``.
    """
    base, session = compose_typed("eval", []), session or Session()
    found = {}
    for split in splits:
        config = rebuilt(
            base,
            policy=with_options(base.policy, {"looks": looks}),
            backbone=vlm.config,
            vision_budget=vlm.budget,
            dataset=dataset.config,
            eval=with_options(base.eval, {"split": split, "max_samples": max_samples, **options}),
            paths=replace(base.paths, runs=str(runs), store=f"{runs}/outcomes", data=f"{runs}/data"),
        )
        found[split] = known_outcomes(settled(config, session), session)
    return Collection(found)


def import_outcomes(
    rows: Any,
    dataset: Dataset,
    *,
    name: str,
    engine: str | None = None,
    split: str = "test",
    max_samples: int | None = None,
    features: np.ndarray | None = None,
    scores: Literal["auto", "given", "own"] = "auto",
    max_vision_tokens: int | None = None,
    looks: Sequence[Any] | None = None,
    runs: str | Path = "multirun",
) -> Outcomes:
    """Take outcomes that another engine has made, as ``experiments.store store.import_from=FOLDER`` does.

    Args:
        rows: a DataFrame with the columns of ``experiments/outcomes.md``, or a folder of files.
        name: by which commands find them (``backbone=imported backbone.name=NAME``).
        engine: what has made them; None takes their column ``engine``.
        features: hidden states [R, D] for a DataFrame's column ``features_row``.
        looks: the menu to choose among; None: NO and FULL, and COARSE where there are rows of it.

    Raises:
        VoVNetError: names the row and what to change.
    """
    found = read_folder(Path(rows).expanduser()) if isinstance(rows, str | Path) else read_frame(rows, features)
    base = compose_typed("store", ["backbone=imported"])
    place = f"{runs}/outcomes/{FOLDER}/{name}"
    labels = {Action.COARSE.label} & {*found.table["look"].unique().to_pylist()}
    config = rebuilt(
        base,
        policy=with_options(base.policy, {"looks": looks, "action_space": "ternary" if labels else "binary"}),
        backbone=with_options(base.backbone, {"name": name, "path": place}),
        dataset=dataset.config,
        eval=with_options(base.eval, {"split": split, "max_samples": max_samples}),
        paths=replace(base.paths, runs=str(runs), store=f"{runs}/outcomes", data=f"{runs}/data"),
        store=with_options(base.store, {"engine": engine, "scores": scores, "max_vision_tokens": max_vision_tokens}),
    )
    assert config.store is not None
    import_from(config, config.store, Session(), found)
    return known_outcomes(rebuilt(config, store=None), Session())


def _override(value: Any) -> str:
    """A value in Hydra's grammar of overrides."""
    return quoted(str(value)) if isinstance(value, str | Path) else json.dumps(value)


def with_options(config: Any, options: dict[str, Any]) -> Any:
    """A part of a configuration with other values.

    Raises:
        VoVNetError: a key that it does not have, or a value that the key does not take.
    """
    from pydantic import TypeAdapter, ValidationError

    from vovnet.explain import explain_validation

    known = {field.name: getattr(config, field.name) for field in fields(config)}
    try:  # what a program gives may name code, as what is composed may
        return TypeAdapter(type(config)).validate_python({**known, **options}, context=TRUSTED)
    except ValidationError as error:
        raise VoVNetError(f"{type(config).__name__}: {explain_validation(error)}") from error
