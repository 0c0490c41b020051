"""What an adapter_config.json may ask for, checked before anything is loaded."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vovnet.errors import VoVNetError, first_line
from vovnet.files import read_object

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # peft's names
# What peft or ms-swift writes about the training; it changes nothing once weights are there.
OF_TRAINING = {
    *("task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode"),
    *("eva_config", "megatron_core", "qalora_group_size", "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr"),
}
Count = Annotated[int, Field(gt=0)]
Scale = Annotated[float, Field(gt=0)]  # at 0 an adapter would change nothing


class LoraSettings(BaseModel):
    """What an adapter_config.json may ask for: all that peft merges rightly into a linear layer or an embedding."""

    model_config = ConfigDict(strict=True, extra="forbid")

    r: Count = 8
    lora_alpha: Scale = 8
    lora_dropout: float = 0  # of a training that goes on
    target_modules: str | list[str]
    exclude_modules: str | list[str] | None = None
    rank_pattern: dict[str, Count] = {}
    alpha_pattern: dict[str, Scale] = {}
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    modules_to_save: list[str] | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    # PiSSA and OLoRA take their first matrices off the weights, which peft does again; what else does is refused.
    init_lora_weights: bool | Literal["gaussian", "orthogonal", "eva", "olora", "pissa"] = True


def lora_settings(folder: Path) -> LoraSettings:
    """What a folder's adapter_config.json asks for.

    Raises:
        VoVNetError: another kind of adapter, a value of the wrong type, or something that cannot be merged.
    """
    file = folder / ADAPTER_CONFIG
    try:
        content = read_object(file)
    except (OSError, ValueError) as error:
        raise VoVNetError(f"{file} cannot be read ({first_line(error)}); copy the adapter again.") from error
    kind = content.pop("peft_type", None)
    if kind != "LORA":
        raise VoVNetError(f"{folder} holds an adapter with peft_type={kind}; only LoRA (peft_type=LORA) is supported.")
    said = {
        key: value
        for key, value in content.items()
        if key not in OF_TRAINING and value is not None and value is not False and value not in ("", [], {})
    }
    try:
        return LoraSettings(**said)
    except ValidationError as error:
        first = error.errors()[0]
        key, extra = str(first["loc"][0]), first["type"] == "extra_forbidden"
        why = "which cannot be merged into the weights here" if extra else first["msg"]
        raise VoVNetError(
            f"{file} has {key}={said.get(key)!r:.80} ({why}); train the adapter again without it, or merge it by the "
            "program that wrote it and name the merged model by backbone.path."
        ) from error
