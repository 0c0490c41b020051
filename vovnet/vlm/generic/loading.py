"""From a checkpoint folder of any family to a ``GenericVLM``."""

import json
import logging
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN
from transformers.utils import logging as transformers_logging

from vovnet.errors import VoVNetError, first_line, out_of_memory
from vovnet.fingerprint import digest, recall_text, remember_text
from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.adapters import attach
from vovnet.vlm.configuration import model_config
from vovnet.vlm.decoding import end_tokens, reasoning_of
from vovnet.vlm.device import pick_device, placement
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.generic.budget import CountedBudget
from vovnet.vlm.generic.builder import GenericBuilder
from vovnet.vlm.generic.check import VERSION as CHECK
from vovnet.vlm.generic.check import check
from vovnet.vlm.generic.model import Exact, GenericVLM
from vovnet.vlm.generic.prompters import prompter_of
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.quantised import INSTALL, check_quantised, quantisation
from vovnet.vlm.reading import reading_of
from vovnet.vlm.weights import GENERATION_CONFIG, UNREADABLE

log = logging.getLogger(__name__)

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def load_generic(
    config: BackboneConfig,
    budget: VisionBudgetConfig,
    cache_reuse: bool,
    pruning: Pruning | None,
    checkpoint: Checkpoint,
) -> GenericVLM:
    """Load model and processor, and find out what the model does exactly; evaluation mode, no gradients.

    Raises:
        VoVNetError: missing or unreadable files, an unknown family, or a device that is not there.
    """
    if pruning is not None:
        raise VoVNetError(
            f"{checkpoint.model_type} models cannot prune vision tokens here; leave the ratio at 1.0, or use a "
            "backbone with a fast path (Qwen3-VL, Qwen2.5-VL)."
        )
    if config.compile:
        log.warning("backbone.compile has no effect without a fast path")
    device = pick_device(config.device)
    model = load_model(config, checkpoint).to(device).eval().requires_grad_(False)
    prompter = prompter_of(config, checkpoint)
    tokenizer = prompter.tokenizer
    ends = end_tokens(model.generation_config.eos_token_id, tokenizer.eos_token_id)
    # Penalties and suppressed tokens of a checkpoint's own settings would hold here and nowhere else.
    model.generation_config = GenerationConfig(eos_token_id=list(ends), pad_token_id=ends[0])
    builder = GenericBuilder(
        prompter=prompter,
        budget=CountedBudget(budget, checkpoint, reading_of(config, checkpoint).resample),
        end_token=tokenizer.eos_token_id,
        context=checkpoint.text_config.get("max_position_embeddings"),
        shares_text=config.prompt_order == "text_first" and prompter.spliced and prompter.begins_alike,
    )
    reasoning, hidden = reasoning_of(tokenizer, prompter.frames.text[1])
    vlm = GenericVLM(
        model, builder, ends, checkpoint.fingerprint, cache_reuse, reasoning, hidden, config.batch_invariant
    )
    vlm.reasoning = replace(reasoning, direct=checkpoint.trained_here)
    vlm.settle(_exact(vlm, config))
    return vlm


def load_model(config: BackboneConfig, checkpoint: Checkpoint) -> Any:
    """Transformers' model with every weight of the folder, on the configured device; LoRA weights merged.

    Raises:
        VoVNetError: missing or unreadable files, an unknown family, or a tensor that has no place.
    """
    folder = checkpoint.folder
    if checkpoint.model_type not in KNOWN:
        raise VoVNetError(
            f"{folder} holds a {checkpoint.model_type!r} model, which this version of transformers cannot ask about "
            "images (AutoModelForImageTextToText); choose another model, or a newer transformers."
        )
    method = quantisation(folder, checkpoint.config)
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            str(folder),
            config=model_config(folder, checkpoint.config, config.attn_implementation),
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attn_implementation,
            device_map=placement(pick_device(config.device), method),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except ImportError as error:
        needs = "the package it names" if method is None else INSTALL[method]
        raise VoVNetError(f"the model in {folder} cannot be loaded ({first_line(error)}); install {needs}.") from error
    except UNREADABLE as error:
        if out_of_memory(error):
            raise
        raise VoVNetError(
            f"the model in {folder} cannot be loaded ({first_line(error)}); download or save it again, or set "
            "backbone.attn_implementation=eager if it lacks this attention."
        ) from error
    for kind, what in (("missing_keys", "lack"), ("unexpected_keys", "hold what has no place in the model:")):
        if names := sorted(info[kind]):
            raise VoVNetError(
                f"the weights in {folder} {what} {len(names)} tensors ({names[0]}); download or save it again."
            )
    if wrong := [*info["mismatched_keys"], *info["error_msgs"]]:
        raise VoVNetError(f"the model in {folder} cannot be loaded ({wrong[0]}); download or save it again.")
    if method is not None:
        check_quantised(folder, model, method, getattr(torch, config.dtype))
    model.name_or_path = model.config.name_or_path = str(folder)  # peft writes it beside what it trains
    if (folder / GENERATION_CONFIG).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model if checkpoint.adapter is None else attach(model, checkpoint.adapter).merge_and_unload()


def _exact(vlm: GenericVLM, config: BackboneConfig) -> Exact:
    """What the model does exactly, remembered on disk, and one sentence about what it does not."""
    facts = [CHECK, vlm.fingerprint, vlm.device.type, asdict(config), vlm.asks_reuse, vlm.builder.shares_text]
    installed = [version(name) for name in ("transformers", "torch")]
    name = "exact " + digest([facts, installed])
    if (known := recall_text(name)) is not None:
        content = json.loads(known)
        found = Exact(**content | {"differences": tuple((of, far) for of, far in content["differences"])})
    else:
        found = check(vlm)
        remember_text(name, json.dumps(asdict(found)))
    if vlm.asks_reuse and vlm.builder.shares_text and not found.reuse:
        log.warning(
            "prompts are read whole after the text pass: an image cannot exactly continue the cache of its question in "
            "this model (logits differ by %.2g standard deviations)",
            dict(found.differences)["reuse"],
        )
    return found
