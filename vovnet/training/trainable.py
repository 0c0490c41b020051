"""A backbone whose weights learn: by LoRA, or all of them."""

import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from peft import LoraConfig as PeftLora
from peft import get_peft_model
from safetensors import SafetensorError
from torch import nn

from vovnet.data import load_dataset
from vovnet.errors import VoVNetError, first_line
from vovnet.files import whole_folder
from vovnet.outcomes.looks import pruning_of
from vovnet.schema import BackboneConfig, BackboneTraining, RunConfig
from vovnet.session import Session
from vovnet.vlm.adapters import attach
from vovnet.vlm.files import Checkpoint, TrainedOn, backbone_label, find_checkpoint, write_origin
from vovnet.vlm.loading import load_backbone
from vovnet.vlm.protocol import VLM
from vovnet.vlm.quantised import is_quantised

log = logging.getLogger(__name__)

Method = Literal["lora", "full"]


@dataclass(frozen=True)
class Trainable:
    """A backbone in training mode.

    Attributes:
        backbone: with ``requires_grad`` on what is trained.
        save: writes what was trained into a folder.
    """

    backbone: VLM
    save: Callable[[Path], None]


def saved_backbone(config: BackboneConfig, method: Method, folder: Path) -> BackboneConfig:
    """The configuration that loads what was trained and saved in a folder."""
    if method == "lora":
        return replace(config, adapter=str(folder))
    return replace(config, path=str(folder), adapter=None, packaged=False, revision=None)


def trainable_backbone(config: RunConfig, method: Method, session: Session | None = None) -> Trainable:
    """Load the configured backbone so that it can be trained.

    LoRA goes on from ``backbone.adapter`` where there is one. Full training keeps float32 weights unless the
    precision is pure bfloat16: AdamW's small updates are lost in half precision.

    Raises:
        VoVNetError: the LoRA targets name no layer, the adapter has another rank, or the weights are quantised.
    """
    settings = config.training.backbone
    L.seed_everything(config.training.seed, verbose=False)  # LoRA's first matrices are drawn
    make = _lora if method == "lora" else _full
    trainable = make(config, settings, session or Session())
    if settings.gradient_checkpointing:
        trainable.backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
    trainable.backbone.train()
    trainable.backbone.reasoning = replace(trainable.backbone.reasoning, direct=True)  # it learns the answers alone
    trainable.backbone.begin_training()
    count = sum(p.numel() for p in trainable.backbone.parameters() if p.requires_grad)
    log.info("training %s weights of the backbone (%s)", f"{count:,}", method)
    return trainable


def save_trained(config: RunConfig, method: Method, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Save weights that were spread over ranks: put into a fresh copy of the backbone first.

    Args:
        weights: by their names in a module that holds the backbone as ``backbone``.
    """
    fresh = trainable_backbone(config, method)
    own = {n.removeprefix("backbone."): t for n, t in weights.items() if n.startswith("backbone.")}
    fresh.backbone.load_state_dict(own, strict=False)
    fresh.save(folder)


def save_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Write a folder of weights whole; safetensors wraps the system's errors, which are handed on as such here.

    Raises:
        OSError: the folder cannot be written.
    """
    try:
        whole_folder(folder, fill)
    except SafetensorError as error:
        if (match := re.search(r"os error (\d+)", str(error))) is None:
            raise
        raise OSError(int(match[1]), os.strerror(int(match[1])), str(folder)) from error


def _lora(config: RunConfig, settings: BackboneTraining, session: Session) -> Trainable:
    base = replace(config.backbone, adapter=None)
    backbone = _load(config, base, session)
    wrapped = add_lora(backbone.model, settings, config.backbone.adapter)
    # LoRA that goes on has seen what it was trained on before, and belongs to the same backbone.
    below = find_checkpoint(base, session=session)
    before = find_checkpoint(config.backbone, session=session).trained_on
    seen = training_split(config, session)

    def fill(folder: Path) -> None:
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)  # or peft asks the hub
        write_origin(folder, below, [*before, seen])

    return Trainable(backbone, lambda folder: save_folder(folder, fill))


def add_lora(model: Any, settings: BackboneTraining, adapter: str | None = None) -> Any:
    """Put LoRA layers into ``model`` in place, those of a folder where one is named.

    Returns:
        peft's handle: it saves the layers, and ``unload`` takes them out.

    Raises:
        VoVNetError: the targets name no layer, or the adapter has another rank.
    """
    scope = "" if settings.train_vision else f"{decoder_name(model)}."
    pattern = rf"{re.escape(scope)}(.*\.)?({'|'.join(settings.lora.targets)})"
    wanted = PeftLora(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=pattern,
    )
    if adapter is None:
        layers = [n for n, part in model.named_modules() if isinstance(part, nn.Linear) and n.startswith(scope)]
        if not any(re.fullmatch(pattern, name) for name in layers):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
            raise VoVNetError(
                f"training.backbone.lora.targets fit no layer of this backbone; its linear layers are {known}."
            )
        try:
            return get_peft_model(model, wanted)
        except ValueError as error:
            raise VoVNetError(
                f"training.backbone.lora.targets name layers that LoRA cannot adapt ({first_line(error)}); name others."
            ) from error
    wrapped = attach(model, Path(adapter).expanduser(), trainable=True)
    found: Any = wrapped.peft_config["default"]
    if (found.r, found.lora_alpha) != (wanted.r, wanted.lora_alpha):
        raise VoVNetError(
            f"backbone.adapter={adapter} has rank {found.r} and alpha {found.lora_alpha}, training.backbone.lora says "
            f"{wanted.r} and {wanted.lora_alpha}; set those."
        )
    return wrapped


def decoder_name(model: Any) -> str:
    """Where the language model lies in a vision-language model, such as ``model.language_model``.

    Raises:
        VoVNetError: the model does not say.
    """
    decoder = model.get_decoder()
    name = next((name for name, part in model.named_modules() if part is decoder), "")
    if not name:
        raise VoVNetError(
            f"{type(model).__name__} does not say which part is its language model; set "
            "training.backbone.train_vision=true to train all of it."
        )
    return str(name)


def _full(config: RunConfig, settings: BackboneTraining, session: Session) -> Trainable:
    half = settings.precision == "bf16-true"
    backbone = _load(config, config.backbone if half else replace(config.backbone, dtype="float32"), session)
    backbone.requires_grad_(True)
    if not settings.train_vision:
        backbone.model.requires_grad_(False)
        for part in (backbone.model.get_decoder(), backbone.model.get_output_embeddings()):
            part.requires_grad_(True)
    dtype = getattr(torch, config.backbone.dtype)
    below, seen = find_checkpoint(config.backbone, session=session), training_split(config, session)

    def fill(folder: Path) -> None:
        backbone.model.to(dtype)
        write_whole(backbone, folder, below, seen)

    return Trainable(backbone, lambda folder: save_folder(folder, fill))


def write_whole(backbone: VLM, folder: Path, below: Checkpoint, seen: TrainedOn) -> None:
    """Write a backbone all of whose weights were trained: where it began, and on what, stands beside them."""
    backbone.model.save_pretrained(folder)
    backbone.builder.save(folder)
    write_origin(folder, below, [seen])


def training_split(config: RunConfig, session: Session | None = None) -> TrainedOn:
    """The configured training split, for the record of weights that have seen it."""
    data = json.dumps(config.dataset.facts(), sort_keys=True)
    opened = load_dataset(config.dataset, "train", session=session)
    return TrainedOn(config.dataset.name, opened.fingerprint, data)


def _load(config: RunConfig, backbone: BackboneConfig, session: Session) -> VLM:
    """A copy of its own, since it is trained."""
    checkpoint = find_checkpoint(backbone, session=session)
    loaded = load_backbone(backbone, config.vision_budget, config.eval.cache_reuse, pruning_of(config), checkpoint)
    if is_quantised(loaded.model):
        raise VoVNetError(
            f"{backbone_label(backbone)} has quantised weights, into which nothing that is trained can be merged; "
            "train a form of it that is not quantised."
        )
    return loaded
