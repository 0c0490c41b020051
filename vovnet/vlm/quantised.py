"""Quantised weights: which forms are loaded, what they need, and what cannot be done with them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.errors import VoVNetError, first_line
from vovnet.files import read_object

if TYPE_CHECKING:
    import torch

MODELOPT = "hf_quant_config.json"  # what NVIDIA's ModelOpt says about its weights
# Quantised forms that transformers loads so that linear layers are called as before, and what that needs.
INSTALL = {
    "awq": "gptqmodel",
    "bitsandbytes": "'vovnet[bitsandbytes]'",
    "compressed-tensors": "'vovnet[compressed-tensors]'",
    "fp8": "accelerate",
    "gptq": "gptqmodel optimum",
}


def quantisation(folder: Path, content: Mapping[str, Any]) -> str | None:
    """How the weights of a folder are quantised; None where they are kept as they are.

    Raises:
        VoVNetError: in a way that transformers would leave out, so that weights stay without their scales.
    """
    text = content.get("text_config")
    settings = content.get("quantization_config") or (isinstance(text, dict) and text.get("quantization_config"))
    if not settings:
        if (folder / MODELOPT).is_file():
            raise _unsupported(folder, MODELOPT, f"quant_algo={_modelopt(folder / MODELOPT)}")
        return None
    if not isinstance(settings, dict):
        raise VoVNetError(f"{folder}/config.json has a quantization_config that is no object; download it again.")
    bits = settings.get("load_in_4bit") or settings.get("load_in_8bit")  # of older bitsandbytes checkpoints
    method = settings.get("quant_method", "bitsandbytes" if bits else None)
    if not isinstance(method, str) or method not in INSTALL:
        raise _unsupported(folder, "config.json", f"quant_method={method}")
    return method


def _unsupported(folder: Path, file: str, what: str) -> VoVNetError:
    return VoVNetError(
        f"{folder}/{file} says that the weights are quantised by {what}, which is not supported (supported are "
        f"{', '.join(INSTALL)}); choose another form of this model, for example bfloat16."
    )


def _modelopt(file: Path) -> object:
    try:
        content = read_object(file).get("quantization", {})
        return content.get("quant_algo") if isinstance(content, dict) else content
    except (OSError, ValueError) as error:
        raise VoVNetError(f"{file} cannot be read ({first_line(error)}); download it again.") from error


def check_quantised(folder: Path, model: Any, method: str, dtype: "torch.dtype", read: Sequence[str] = ()) -> None:
    """Make sure that a quantised model, just loaded, runs as this project runs it.

    Weights that transformers has dequantised are brought to one type: it leaves FP8 weights in that of their scales.

    Args:
        read: names of modules whose matrices are read directly, without calling the module.

    Raises:
        VoVNetError: a matrix that is read directly is quantised.
    """
    if not is_quantised(model):
        model.to(dtype)
        return
    for name in read:
        weight = getattr(model.get_submodule(name), "weight", None)
        if weight is None or weight.dtype not in _floats():
            raise VoVNetError(
                f"{folder} holds {name} quantised by {method}, which is not supported; choose a form of this model "
                "that leaves it as it is."
            )


def is_quantised(model: Any) -> bool:
    """Whether some weights of a model are kept as codes."""
    return any(tensor.dtype not in _floats() for tensor in model.state_dict().values())


def _floats() -> "tuple[torch.dtype, ...]":
    import torch

    return torch.float64, torch.float32, torch.float16, torch.bfloat16
