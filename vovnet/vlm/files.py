"""A checkpoint on disk: where it lies, what it is, and its fingerprint. Reads no weights into memory."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vovnet.data.hub import ask_hub
from vovnet.errors import VoVNetError, first_line, keeps_from_writing
from vovnet.files import read_object, write_json
from vovnet.fingerprint import fingerprint_files
from vovnet.schema import BackboneConfig
from vovnet.session import Session
from vovnet.vlm.adapters import means_more_than_peft_reads
from vovnet.vlm.families import fast_path
from vovnet.vlm.imported import FOLDER, IMPORTED, no_rows, open_imported
from vovnet.vlm.lora_settings import ADAPTER_CONFIG, ADAPTER_WEIGHTS, lora_settings
from vovnet.vlm.quantised import quantisation

ORIGIN_FILE = "trained_on.json"  # beside trained weights: the backbone that they belong to, and their training data
PACKAGED = Path(__file__).parent / "checkpoints"
# Everything that can change an answer: weights, tokeniser, template, image processor.
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "additional_chat_templates/*.jinja", "merges.txt", "vocab.txt")
OF_PROCESSOR = tuple(pattern for pattern in PATTERNS if pattern != "*.safetensors")
BESIDE_WEIGHTS = (ORIGIN_FILE, "model.safetensors.index.json")
KEPT = 4  # checkpoints that a session keeps; one is small


@dataclass(frozen=True)
class TrainedOn:
    """A training split that weights have seen.

    Attributes:
        dataset: its name.
        fingerprint: of its questions and images.
        config: the data set's configuration as JSON, by which it can be opened again.
    """

    dataset: str
    fingerprint: str
    config: str


UNSAID = TrainedOn("unknown data", "", "null")  # of an adapter that does not say


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that has been found complete.

    Attributes:
        folder: as written by ``save_pretrained``.
        fingerprint: SHA-256 over names and contents of the files that determine answers.
        config: the parsed ``config.json``.
        adapter: LoRA weights that belong on top, or None; the fingerprint covers them.
        trained_on: what this project trained it on; of a published model nobody knows.
        readings: what ``vovnet.vlm.reading`` found in its files, so that each is read once.
    """

    folder: Path
    fingerprint: str
    config: dict[str, Any]
    adapter: Path | None = None
    trained_on: tuple[TrainedOn, ...] = ()
    readings: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def trained_here(self) -> bool:
        """Whether this project has trained weights of it, to answer without reasoning first."""
        return any(seen != UNSAID for seen in self.trained_on)

    @property
    def model_type(self) -> str:
        """The family, as config.json names it."""
        return str(self.config["model_type"])

    @property
    def engine(self) -> str | None:
        """What has made the rows of a backbone that is imported; None for one that has a model."""
        return str(self.config["engine"]) if self.model_type == IMPORTED else None

    @property
    def text_config(self) -> dict[str, Any]:
        """Sizes of the language model; older Qwen2.5-VL files keep them at the top level. Of imported rows it is the
        width of their hidden states alone."""
        if self.engine is not None:
            return {"hidden_size": self.config.get("width", 0)}
        return dict(self.config.get("text_config") or self.config)

    @property
    def vision_config(self) -> dict[str, Any]:
        """Sizes of the vision tower; empty where the configuration has no such part."""
        found = self.config.get("vision_config")
        return dict(found) if isinstance(found, dict) else {}


def find_checkpoint(config: BackboneConfig, only_local: bool = False, session: Session | None = None) -> Checkpoint:
    """Locate a checkpoint in a local folder, in the package or on the hub; once a session.

    Args:
        only_local: download nothing. For a configuration that came with a file.

    Raises:
        VoVNetError: nothing there, files missing, or another architecture.
    """
    return (session or Session()).once("checkpoint", (config, only_local), lambda: _find(config, only_local), KEPT)


def _find(config: BackboneConfig, only_local: bool) -> Checkpoint:
    if config.name == "folder" and config.path is None:
        raise VoVNetError("backbone=folder needs a checkpoint; add backbone.path=FOLDER.")
    if config.base_url is not None or config.name == "openai":
        return _served(config, only_local)
    if config.path is not None:
        folder = Path(config.path).expanduser()
        if not folder.is_dir() and folder.parent.name == FOLDER:
            raise no_rows(folder)
        if not folder.is_dir():
            raise VoVNetError(f"backbone.path={config.path} is not a folder; name one written by save_pretrained.")
    elif config.packaged:
        folder = PACKAGED / config.name
        if not folder.is_dir():
            raise VoVNetError(
                f"no checkpoint named {config.name} travels in this package; set backbone.path or another backbone."
            )
    else:
        folder = _download(config.name, config.revision, only_local)
    base = open_checkpoint(folder.resolve())
    return base if config.adapter is None else with_adapter(base, Path(config.adapter).expanduser())


def _served(config: BackboneConfig, only_local: bool) -> Checkpoint:
    """The processor's files of a model that a server runs.

    The server's name counts, its address does not: a job that is started again may find it elsewhere.

    Raises:
        VoVNetError: a key is missing, or the files are.
    """
    for key in ("base_url", "model", "processor"):
        if getattr(config, key) is None:
            raise VoVNetError(
                f"backbone={config.name} asks a server and needs backbone.{key}; give backbone.base_url="
                "http://HOST:PORT/v1, backbone.model=NAME as the server calls it, and backbone.processor=FOLDER, the "
                "folder or hub id of the model, whose processor sizes and counts images."
            )
    if config.adapter is not None:
        raise VoVNetError("backbone.adapter cannot be put onto a server's model; start the server with it.")
    place = str(config.processor)
    folder = Path(place).expanduser()
    folder = (folder if folder.is_dir() else _download(place, config.revision, only_local, OF_PROCESSOR)).resolve()
    files = {path for pattern in OF_PROCESSOR for path in folder.glob(pattern) if path.name not in BESIDE_WEIGHTS}
    try:
        content = read_object(folder / "config.json")
    except (OSError, ValueError) as error:
        raise VoVNetError(f"backbone.processor={place} has no readable config.json ({first_line(error)}).") from error
    facts = [config.name, config.model, fingerprint_files(files)]
    return Checkpoint(folder, hashlib.sha256(json.dumps(facts).encode()).hexdigest(), content)


def backbone_label(config: BackboneConfig) -> str:
    """What a backbone is called in tables: its folder or name, and the weights trained on top."""
    if config.path is not None and Path(config.path).parent.name == FOLDER:
        return config.name
    if config.base_url is not None:
        return f"{config.model} at {config.name}"
    return " + ".join(filter(None, (config.path or config.name, config.adapter)))


def with_adapter(base: Checkpoint, folder: Path) -> Checkpoint:
    """A checkpoint with the LoRA weights of a folder on top.

    Raises:
        VoVNetError: no adapter lies there, it is no LoRA, or it was trained on another backbone.
    """
    if not all((folder / name).is_file() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)):
        raise VoVNetError(  # without the second, peft would look for a pickle
            f"backbone.adapter={folder} holds no LoRA weights (adapter_config.json, adapter_model.safetensors); "
            "name the `backbone` folder that a training with stage1_backbone=lora or stage2_backbone=lora left."
        )
    lora_settings(folder)
    below, trained_on = _origin(folder)
    if (below or base.fingerprint) != base.fingerprint:
        raise VoVNetError(
            f"the LoRA weights in {folder} were trained on a backbone with fingerprint {below[:12]}, the one in "
            f"use has {base.fingerprint[:12]}; choose that backbone."
        )
    both = [base.fingerprint, fingerprint_files(list(folder.glob("adapter_*")))]
    if means_more_than_peft_reads(folder):
        both.append("as read since every tensor is used")  # no outcome of an earlier version is served for it
    return replace(
        base,
        fingerprint=hashlib.sha256("+".join(both).encode()).hexdigest(),
        adapter=folder,
        trained_on=tuple(dict.fromkeys((*base.trained_on, *(trained_on or (UNSAID,))))),
    )


def write_origin(folder: Path, below: Checkpoint, data: Sequence[TrainedOn]) -> None:
    """Say beside trained weights which backbone they started from, and all that they and it have seen."""
    seen = dict.fromkeys((*below.trained_on, *data))
    write_json(folder / ORIGIN_FILE, {"backbone": below.fingerprint, "data": [asdict(one) for one in seen]})


def _origin(folder: Path) -> tuple[str, tuple[TrainedOn, ...]]:
    """Fingerprint of the backbone that a folder's weights were trained on, and on which data; both empty where the
    weights are another program's.

    Raises:
        VoVNetError: the file that says it is damaged.
    """
    origin = folder / ORIGIN_FILE
    if not origin.is_file():
        return "", ()
    try:
        content = read_object(origin)
        data = tuple(TrainedOn(**one) for one in content.get("data", ()))
        if not all(isinstance(text, str) for one in data for text in asdict(one).values()):
            raise TypeError("a name, fingerprint or configuration is no text")
        return str(content["backbone"]), data
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise VoVNetError(f"{origin} does not say which backbone it is of; copy these weights again.") from error


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder's configuration and fingerprint its files.

    Raises:
        VoVNetError: something is missing, damaged or not supported, or the files contradict each other.
    """
    try:
        config = read_object(folder / "config.json")
    except FileNotFoundError as error:
        raise VoVNetError(f"{folder} has no config.json; it is no model folder.") from error
    except ValueError as error:
        raise VoVNetError(f"{folder}/config.json is not valid JSON ({error}); replace it.") from error
    if not isinstance(config.get("model_type"), str):
        raise VoVNetError(f"{folder}/config.json names no model_type; save the model again with save_pretrained.")
    if config["model_type"] == IMPORTED:
        return Checkpoint(folder, open_imported(folder, config), config)
    files = [path for pattern in PATTERNS for path in folder.glob(pattern) if path.name != ORIGIN_FILE]
    if not any(path.suffix == ".safetensors" for path in files):
        raise VoVNetError(f"{folder} has no *.safetensors weights; save the model with save_pretrained.")
    if (folder / ADAPTER_CONFIG).is_file():
        raise VoVNetError(
            f"{folder} holds an adapter ({ADAPTER_CONFIG}) beside a whole model; keep it in a folder of its own, and "
            "name that by backbone.adapter."
        )
    quantisation(folder, config)
    if (family := fast_path(config["model_type"])) is not None:
        family.check_folder(folder, config)
    return Checkpoint(folder, fingerprint_files(files, _import_ahead), config, trained_on=_origin(folder)[1])


def _import_ahead() -> None:
    """Weights that were never read belong to a model that nothing is stored of: what loads it is needed soon."""
    import transformers.modeling_utils  # noqa: F401


def _download(name: str, revision: str | None, only_local: bool, files: Sequence[str] = PATTERNS) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if not only_local:
        ask_hub(name)
    try:
        wanted = list(files)
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=only_local))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        if keeps_from_writing(error):
            raise
        raise VoVNetError(
            f"{name} is neither in the local hub cache nor to be downloaded ({type(error).__name__}: "
            f"{first_line(error)}); download it where there is a network (`hf download {name}`) and set backbone.path "
            "to its folder."
        ) from error
