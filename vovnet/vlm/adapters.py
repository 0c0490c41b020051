"""LoRA adapters of peft and of tools that write its format: every tensor is used, or the adapter is refused.

peft leaves out tensors whose names fit no layer, and layers that have no tensors, with a warning at most. Here the file
says which layers are adapted: its names are brought to those of this version of transformers, and must be what
``target_modules`` of its own adapter_config.json name.
"""

import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.errors import VoVNetError, first_line
from vovnet.vlm.lora_settings import ADAPTER_CONFIG, ADAPTER_WEIGHTS, lora_settings
from vovnet.vlm.quantised import is_quantised
from vovnet.vlm.weights import canonical, opened

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

PREFIX = "base_model.model."  # of peft's names in files
LORA = re.compile(r"^(.+?)\.(lora_(?:embedding_)?[AB]|lora_magnitude_vector)((?:\.[^.]+)*)$")
SAVED = re.compile(r"\.modules_to_save(?:\.default)?(?=\.)")
BEFORE_4_52 = ("qwen2_5_vl",)  # families that transformers knew when it called the vision tower ``visual``


def attach(model: Any, folder: Path, trainable: bool = False) -> Any:
    """Put a folder's LoRA layers into ``model`` in place.

    Returns:
        peft's handle: it merges the layers, saves them or takes them out.

    Raises:
        VoVNetError: a tensor fits no layer, a layer that ``target_modules`` names has none, or shapes differ.
    """
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

    if is_quantised(model):
        raise VoVNetError(
            f"the LoRA weights in {folder} cannot be merged into quantised weights, which would round them; choose a "
            "form of this backbone that is not quantised."
        )
    settings, (keys, spelling) = lora_settings(folder), _keys(folder, {name for name, _ in model.named_modules()})
    with opened(folder / ADAPTER_WEIGHTS) as weights:
        tensors = {key: weights.get_tensor(name) for key, name in keys.items()}
    try:
        config = LoraConfig(**settings.model_dump(), inference_mode=not trainable)
    except (ValueError, TypeError) as error:
        raise VoVNetError(
            f"{folder / ADAPTER_CONFIG} contradicts itself ({first_line(error)}); train the adapter again."
        ) from error
    if config.init_lora_weights not in ("olora", "pissa"):
        config.init_lora_weights = True  # to be overwritten
    _aim(config, model, spelling, folder)
    _untie(model, {*spelling, *(config.modules_to_save or ())})
    try:
        wrapped = PeftModel(model, config)
        wanted = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        _compare(wanted, tensors, folder)
        left = set_peft_model_state_dict(wrapped, tensors).unexpected_keys
    except (ValueError, RuntimeError, LookupError, TypeError) as error:
        raise VoVNetError(
            f"the LoRA weights in {folder} do not fit this backbone ({first_line(error)}); train them again."
        ) from error
    if left:
        raise VoVNetError(
            f"this backbone has no place for {left[0].removeprefix(PREFIX)}, one of {len(left)} tensors in {folder} "
            "that are left over; choose the backbone that the adapter was trained on."
        )
    if _is_idle(tensors):
        log.warning("the LoRA weights in %s are zero and change nothing", folder)
    return wrapped.train(trainable)


def _is_idle(tensors: Mapping[str, "Tensor"]) -> bool:
    """Whether every pair of matrices has a product of zero, and nothing else is there."""
    pairs: dict[str, bool] = {}
    for name, tensor in tensors.items():
        pair = re.sub(r"\.lora_(?:embedding_)?[AB]\b", ".lora", name)
        pairs[pair] = pairs.get(pair, True) and bool(tensor.any())
    return not any(pairs.values())


def means_more_than_peft_reads(folder: Path) -> bool:
    """Whether peft by itself would leave some tensors of an adapter out, or merge them into two matrices at once.

    Outcomes of such an adapter differ from those of versions of this project that left it to peft.
    """
    keys, _ = _keys(folder)
    shared = ("lm_head.", "model.language_model.embed_tokens.")  # one matrix in some models
    return any(name != key or key.removeprefix(PREFIX).startswith(shared) for key, name in keys.items())


def _keys(folder: Path, modules: Collection[str] = ()) -> tuple[dict[str, str], dict[str, str]]:
    """A folder's tensors by the names that peft expects, and how the file spells the name of each adapted module.

    Args:
        modules: names in the model; what the file calls so is meant so.

    Raises:
        VoVNetError: two tensors mean the same, or none is of LoRA.
    """
    keys: dict[str, str] = {}
    spelling: dict[str, str] = {}
    file = folder / ADAPTER_WEIGHTS
    with opened(file, "np") as weights:
        for name in weights.keys():  # noqa: SIM118  # it is no mapping
            plain = re.sub(rf"^(?:{re.escape(PREFIX)})+", "", name)
            if found := LORA.match(plain):
                module, part, rest = found.groups()
                # The name of an adapter may come before what it is of, as in lora_A.default.weight.
                kind = rest.rpartition(".")[2]
                end = f".{kind}" if kind in ("weight", "bias") and part in ("lora_A", "lora_B") else ""
                own = module if module in modules else canonical(f"{module}.")[:-1]
                key = f"{own}.{part}{end}"
                spelling[own] = module
            else:
                key = SAVED.sub("", plain)
                key = key if key.rpartition(".")[0] in modules else canonical(key)
            if keys.setdefault(PREFIX + key, name) != name:
                raise VoVNetError(f"{file} holds {name} twice under two names; keep one adapter in a file.")
    if not spelling:
        raise VoVNetError(f"{file} holds no LoRA matrices; copy the adapter again.")
    return keys, spelling


def _aim(config: Any, model: Any, spelling: Mapping[str, str], folder: Path) -> None:
    """Let peft's configuration name exactly the modules that the file adapts, by their names in this model.

    Raises:
        VoVNetError: they are not those that the adapter's own configuration names.
    """
    from torch import nn

    modules = [
        name
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d | nn.Embedding)
    ]
    for name, old in spelling.items():
        if name not in modules:
            raise VoVNetError(
                f"this backbone has no layer {old} that the LoRA weights in {folder} adapt; choose the backbone that "
                "the adapter was trained on."
            )
        if old.startswith("visual.") and model.config.model_type not in BEFORE_4_52:
            raise VoVNetError(
                f"the LoRA weights in {folder} adapt {old}, a name of transformers before 4.52, which had no "
                f"{model.config.model_type}; choose the backbone that the adapter was trained on."
            )
    old_names = {name: _spelled(name, spelling) for name, _ in model.named_modules()}
    try:
        named = {name for name in modules if _names(config, name, model) or _names(config, old_names[name], model)}
    except re.error as error:
        raise VoVNetError(f"{folder / ADAPTER_CONFIG} has a pattern that is none ({error}); fix it.") from error
    for name in sorted(spelling.keys() - named):
        raise VoVNetError(f"{folder / ADAPTER_WEIGHTS} adapts {spelling[name]}, which its target_modules do not name.")
    missing = sorted(named - spelling.keys())
    if spelling != {name: name for name in spelling} and not any(".visual." in name for name in spelling):
        left = [name for name in missing if ".visual." in name]  # names of a text-only model: it had no other part
        missing = [name for name in missing if ".visual." not in name]
        if left:
            log.warning("the LoRA weights in %s leave out the vision tower (%s)", folder, left[0])
    if missing:
        raise VoVNetError(
            f"the LoRA weights in {folder} leave out {len(missing)} layers that its target_modules name "
            f"({missing[0]}); copy the adapter again, or say by layers_to_transform which layers it is for."
        )
    if config.layers_to_transform is not None:
        log.info("%s adapts the layers %s only, as layers_to_transform says", folder, config.layers_to_transform)
    for key in ("rank_pattern", "alpha_pattern"):
        setattr(config, key, _by_module(getattr(config, key), spelling))
    if config.modules_to_save:
        endings = tuple(config.modules_to_save)
        config.modules_to_save = [
            name for name, old in old_names.items() if name.endswith(endings) or old.endswith(endings)
        ]
    config.target_modules = sorted(spelling)
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None


def _spelled(name: str, spelling: Mapping[str, str]) -> str:
    """A module's name as the file would spell it, judged by a module of the same part whose name is there."""
    for new in ("model.language_model.", "model.visual."):
        if name.startswith(new):
            for known, old in spelling.items():
                if known.startswith(new):
                    return old.removesuffix(known.removeprefix(new)) + name.removeprefix(new)
            renamed = any(known != old for known, old in spelling.items())
            return name.removeprefix("model.") if renamed else name
    return name


def _names(config: Any, name: str, model: Any) -> bool:
    """Whether an adapter's configuration names a module."""
    from peft.tuners.tuners_utils import check_target_module_exists
    from torch import nn

    if config.target_modules == "all-linear":
        part = dict(model.named_modules()).get(name)
        return isinstance(part, nn.Linear) and part is not model.get_output_embeddings()
    return bool(check_target_module_exists(config, name))


def _by_module(patterns: Mapping[str, Any], spelling: Mapping[str, str]) -> dict[str, Any]:
    """Values of patterns, as peft matches them, by the names of modules in this model."""
    found: dict[str, Any] = {}
    for name, old in spelling.items():
        for pattern, value in patterns.items():
            if any(re.match(rf"(.*\.)?({pattern})$", spelled) for spelled in (old, name)):
                found.setdefault(name, value)
    return found


def _untie(model: Any, adapted: set[str]) -> None:
    """Part the input and output embeddings where they are one matrix and only one of them is adapted."""
    from torch import nn

    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    parts = {name for name, part in model.named_modules() if part is head or part is table}
    if head.weight is table.weight and parts & adapted:
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
        model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False


def _compare(wanted: Mapping[str, "Tensor"], tensors: Mapping[str, "Tensor"], folder: Path) -> None:
    """Refuse an adapter without a tensor that its layers need, or with one of another shape or not finite.

    Raises:
        VoVNetError: so.
    """
    for name in sorted(wanted):
        shown = name.removeprefix(PREFIX)
        if name in tensors and not bool(tensors[name].isfinite().all()):
            raise VoVNetError(f"the LoRA weights in {folder} hold NaN or infinity in {shown}; train them again.")
        if name not in tensors:
            raise VoVNetError(f"the LoRA weights in {folder} lack {shown}; copy the adapter again.")
        if wanted[name].shape != tensors[name].shape:
            raise VoVNetError(
                f"the LoRA weights in {folder} hold {shown} as {list(tensors[name].shape)}, their configuration and "
                f"this backbone need {list(wanted[name].shape)}; copy the adapter again."
            )
