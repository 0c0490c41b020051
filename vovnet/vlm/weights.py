"""What the weight files of a checkpoint folder hold; compared with its config.json before a model is built.

Every tensor is used, or renamed by ``RENAMES`` and then used, or left out by the model class's own list, which is
logged; anything else is refused. Names and shapes come from the headers, so that no check reads weights into memory.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from vovnet.errors import VoVNetError, first_line
from vovnet.files import read_object, refuse_special

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

GENERATION_CONFIG = "generation_config.json"
# What transformers, huggingface_hub and safetensors raise for files that they cannot use.
UNREADABLE = (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError, StrictDataclassError)
INDEX = "model.safetensors.index.json"
# Names that other tools and older versions of transformers write, and what they mean. ``model.layers.0`` is the
# language model's in transformers before 4.52 and in text-only checkpoints, ``language_model.model.layers.0`` in
# models nested as LLaVA's, ``layers.0`` where the bare language model was saved.
RENAMES = (
    (re.compile(r"^(?:_orig_mod\.|module\.)+"), ""),  # of torch.compile and of data-parallel training
    (re.compile(r"^(?:model\.)?visual\."), "model.visual."),
    (
        re.compile(r"^(?:model\.)?(?:language_model\.)?(?:model\.)?(layers|embed_tokens|norm)\."),
        r"model.language_model.\1.",
    ),
    (re.compile(r"^(?:model\.|language_model\.)lm_head\."), "lm_head."),
)
DEPTHS = ("num_hidden_layers", "depth", "deepstack_visual_indexes", "layer_types")  # keys that say how many layers
FLOATS = ("F64", "F32", "F16", "BF16")  # safetensors' names of types that hold weights as they are
SMALLEST = 8  # weights that a byte holds at most, in any quantised form


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: where it lies, what it is called there, its shape, and safetensors' name of its type."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def canonical(name: str) -> str:
    """What this version of transformers calls a tensor or module of Qwen3-VL or Qwen2.5-VL."""
    for pattern, replacement in RENAMES:
        name = pattern.sub(replacement, name)
    return name


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder's weight files by its canonical name; reads their headers.

    Raises:
        VoVNetError: a file is damaged, two tensors have one name, or the index says something else.
    """
    found: dict[str, Stored] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with opened(file, "np") as weights:  # torch is not needed for names and shapes
            for name in weights.keys():  # noqa: SIM118  # it is no mapping
                part = weights.get_slice(name)
                one = Stored(file, name, tuple(part.get_shape()), part.get_dtype())
                if (other := found.setdefault(canonical(name), one)) is not one:
                    raise VoVNetError(
                        f"{file} holds {name}, which {other.file.name} holds too (as {other.name}); "
                        "keep the files of one model in the folder."
                    )
    _compare_with_index(folder, found)
    return found


@contextmanager
def opened(file: Path, framework: str = "pt", device: str = "cpu") -> Iterator[Any]:
    """A weight file, read tensor by tensor.

    Raises:
        VoVNetError: it is damaged, or no file.
    """
    refuse_special(file, file.stat())  # safetensors would wait for a named pipe
    try:
        with safe_open(file, framework, device) as weights:
            yield weights
    except (OSError, SafetensorError) as error:
        raise VoVNetError(
            f"the weights in {file} cannot be loaded ({first_line(error)}); download or save them again."
        ) from error


def _compare_with_index(folder: Path, found: Mapping[str, Stored]) -> None:
    """Refuse an index that names a tensor where it is not, and files that it does not list."""
    index = folder / INDEX
    if not index.is_file():
        return
    try:
        places = {str(name): str(file) for name, file in read_object(index)["weight_map"].items()}
    except (ValueError, LookupError, AttributeError) as error:
        raise VoVNetError(f"{index} holds no weight_map ({first_line(error)}); download it again.") from error
    held = {one.name: one.file.name for one in found.values()}
    for name, file in places.items():
        if held.get(name) != file:
            raise VoVNetError(
                f"the weights in {folder} cannot be loaded ({INDEX} names {name}, and {file} does not hold it); "
                "download or save them again."
            )
    if left := sorted(held.keys() - places.keys()):
        raise VoVNetError(f"{folder / held[left[0]]} holds {left[0]}, which {INDEX} does not list; remove the file.")


def read_tensors(stored: Mapping[str, Stored], device: Any = "cpu") -> "dict[str, Tensor]":
    """The tensors themselves, on a device; on a CPU the system reads a file's pages when they are used."""
    tensors: dict[str, Tensor] = {}
    for file in {one.file for one in stored.values()}:
        with opened(file, device=str(device)) as weights:
            tensors |= {name: weights.get_tensor(one.name) for name, one in stored.items() if one.file == file}
    return tensors


def check_depth(folder: Path, config: Mapping[str, Any], stored: Mapping[str, Stored]) -> None:
    """Refuse a configuration that describes more layers than the weights hold, before it costs time to look closer.

    Raises:
        VoVNetError: it does.
    """
    layers = {match[0] for name in stored for match in re.finditer(r"^.*?\.\d+\.", name)}
    held = max(Counter(re.sub(r"\d+\.$", "", layer) for layer in layers).values(), default=0)
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in DEPTHS:
            said = part.get(key)
            count = len(said) if isinstance(said, list) else said
            if isinstance(count, int) and count > held:
                raise VoVNetError(
                    f"{folder}/config.json describes {key}={count}, but the weights hold {held} layers; "
                    "save the model again."
                )


def check_deepstack(folder: Path, vision: Mapping[str, Any]) -> None:
    """Refuse DeepStack levels that the vision tower does not have: their mergers would load and never be used.

    Raises:
        VoVNetError: there is one.
    """
    levels, depth = vision.get("deepstack_visual_indexes") or [], vision.get("depth")
    if isinstance(depth, int) and (far := [level for level in levels if level not in range(depth)]):
        raise VoVNetError(
            f"{folder}/config.json describes deepstack_visual_indexes={far}, the vision tower has {depth} layers; "
            "save the model again."
        )


def check_shapes(folder: Path, skeleton: Any, stored: Mapping[str, Stored], method: str | None) -> None:
    """Refuse weights that are not those of the model that the configuration describes.

    Args:
        skeleton: the model without storage, on torch's ``meta`` device.
        method: how the weights are quantised; their names and shapes are another library's then.

    Raises:
        VoVNetError: a tensor is missing, has another shape, or is of a type that needs a scale.
    """
    described = skeleton.state_dict()
    if method is not None:
        size = sum(file.stat().st_size for file in {one.file for one in stored.values()})
        if sum(tensor.numel() for tensor in described.values()) > SMALLEST * size:
            raise VoVNetError(
                f"{folder}/config.json describes a larger model than {size} bytes of weights hold; save it again."
            )
    else:
        tied = skeleton.all_tied_weights_keys
        if missing := sorted(described.keys() - stored.keys() - tied.keys()):  # would be drawn at random
            raise VoVNetError(
                f"the weights in {folder} lack {len(missing)} tensors ({missing[0]}); save the model again."
            )
    for name in sorted(described.keys() & stored.keys()):
        one, shape = stored[name], tuple(described[name].shape)
        if one.dtype not in FLOATS and method is None:
            raise VoVNetError(
                f"{one.file} holds {one.name} as {one.dtype}, and config.json names no quantization_config that says "
                "how to scale it; choose another form of this model, for example bfloat16."
            )
        if one.shape != shape and one.dtype in FLOATS:
            raise VoVNetError(
                f"the model in {folder} cannot be loaded ({one.name} has shape {list(one.shape)}, config.json "
                f"describes {list(shape)}); download or save it again."
            )


def check_loaded(
    folder: Path, info: Mapping[str, Any], model: Any, stored: Mapping[str, Stored], method: str | None
) -> None:
    """Refuse a model that did not take every tensor, and log what its class leaves out and what was renamed.

    Args:
        info: transformers' ``output_loading_info``.

    Raises:
        VoVNetError: a tensor was left, or lacks.
    """
    if left := sorted(info["unexpected_keys"]):
        one = stored.get(left[0])
        raise VoVNetError(
            f"the model in {folder} has no place for {one.name if one else left[0]} ({len(left)} of {len(stored)} "
            "tensors are left over); download or save it again."
        )
    if missing := sorted(info["missing_keys"]):
        raise VoVNetError(f"the weights in {folder} lack {len(missing)} tensors ({missing[0]}); save the model again.")
    if wrong := [*info["mismatched_keys"], *info["error_msgs"]]:
        raise VoVNetError(f"the model in {folder} cannot be loaded ({wrong[0]}); download or save it again.")
    renamed = [name for name, one in stored.items() if name != one.name]
    if renamed:
        log.info("%s: %d tensors have older names, %s is %s", folder, len(renamed), stored[renamed[0]].name, renamed[0])
    held = model.state_dict(keep_vars=True)
    ignored = [] if method is not None else sorted(stored.keys() - held.keys())
    if ignored:
        log.info("%s: the model's class leaves out %d tensors (%s)", folder, len(ignored), stored[ignored[0]].name)
    for double, source in model.all_tied_weights_keys.items():
        if double in stored and held[double] is held[source]:
            log.info("%s: %s is the same matrix as %s and kept once", folder, stored[double].name, source)
