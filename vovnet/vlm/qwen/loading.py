"""From a checkpoint folder to Qwen's fast path with weights in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer, GenerationConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils import logging as transformers_logging

from vovnet.errors import VoVNetError, first_line, out_of_memory
from vovnet.schema import BackboneConfig, VisionBudgetConfig
from vovnet.vlm.adapters import attach
from vovnet.vlm.chat_template import find_template
from vovnet.vlm.configuration import model_config
from vovnet.vlm.decoding import end_tokens
from vovnet.vlm.device import pick_device, placement
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.pruning import Pruning
from vovnet.vlm.quantised import INSTALL, check_quantised, quantisation
from vovnet.vlm.qwen.attention import attend_by_length, compile_parts
from vovnet.vlm.qwen.budget import make_budget
from vovnet.vlm.qwen.folder import IMAGE_TOKENS, sides
from vovnet.vlm.qwen.fused import fuse
from vovnet.vlm.qwen.inputs import InputBuilder
from vovnet.vlm.qwen.model import Backbone
from vovnet.vlm.qwen.prompt import make_format
from vovnet.vlm.reading import reading_of
from vovnet.vlm.weights import GENERATION_CONFIG, UNREADABLE, check_loaded, check_shapes, read_tensors, stored_tensors


def load_processors(folder: Path) -> tuple[Any, Any]:
    """Both, from a checkpoint's folder.

    Raises:
        VoVNetError: one is missing or damaged.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        # Both families use this processor. Its PIL backend by name: torchvision's differs in the last
        # bits, and transformers' automatic choice refuses to work without torchvision in some versions.
        image_processor = Qwen2VLImageProcessorPil.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, ImportError, LookupError, TypeError) as error:
        raise VoVNetError(
            f"{folder} lacks a tokenizer or an image processor ({first_line(error)}); save both beside the model."
        ) from error
    return tokenizer, image_processor


READ_DIRECTLY = ("lm_head", "model.language_model.embed_tokens", "model.visual.patch_embed.proj")

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def load_fast(
    config: BackboneConfig,
    budget: VisionBudgetConfig,
    cache_reuse: bool,
    pruning: Pruning | None,
    checkpoint: Checkpoint,
) -> Backbone:
    """Load model, tokeniser and image processor; evaluation mode, no gradients.

    Raises:
        VoVNetError: missing or unreadable files, or a device that is not there.
    """
    device = pick_device(config.device)
    model = load_model(config, checkpoint)
    optimize_for_inference(model, config)
    builder = load_builder(config, budget, checkpoint, pruning)
    ends = end_tokens(model.generation_config.eos_token_id, builder.end_token)
    # Penalties and suppressed tokens of a checkpoint's own settings would hold for beam search and not
    # for greedy decoding; this project's decoding keys are all that counts.
    model.generation_config = GenerationConfig(eos_token_id=list(ends), pad_token_id=builder.end_token)
    backbone = Backbone(
        model.to(device), builder, ends, checkpoint.fingerprint, cache_reuse, config.graphs, config.batch_invariant
    )
    backbone.reasoning = replace(backbone.reasoning, direct=checkpoint.trained_here)
    return backbone.eval().requires_grad_(False)


def load_model(config: BackboneConfig, checkpoint: Checkpoint) -> Any:
    """Transformers' model with every weight of the folder, and LoRA weights of the checkpoint merged into its own.

    It is on the configured device.

    Raises:
        VoVNetError: missing or unreadable files, a tensor that has no place, or a package that is not installed.
    """
    folder, stored, device = checkpoint.folder, stored_tensors(checkpoint.folder), pick_device(config.device)
    method = quantisation(folder, checkpoint.config)
    skeleton = _skeleton(checkpoint, config.attn_implementation)
    check_shapes(folder, skeleton, stored, method)
    try:
        model, info = type(skeleton).from_pretrained(
            None,  # no file is read but those that were looked at
            config=skeleton.config,
            state_dict=read_tensors(stored, device),
            output_loading_info=True,
            dtype=getattr(torch, config.dtype),
            attn_implementation=config.attn_implementation,
            device_map=placement(device, method),
        )
        model.name_or_path = model.config.name_or_path = str(folder)  # peft writes it beside what it trains
        if (folder / GENERATION_CONFIG).is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (*UNREADABLE, ImportError) as error:
        if out_of_memory(error):
            raise
        fix = "download or save it again"
        if method is not None:
            fix = f"install what {method} weights need (pip install {INSTALL[method]}), or choose another form of it"
        if "FlashAttention" in str(error):
            fix = "install flash-attn, or set backbone.attn_implementation=sdpa"
        raise VoVNetError(f"the model in {folder} cannot be loaded ({first_line(error)}); {fix}.") from error
    check_loaded(folder, info, model, stored, method)
    if method is not None:
        check_quantised(folder, model, method, getattr(torch, config.dtype), READ_DIRECTLY)
    return model if checkpoint.adapter is None else _merged(model, checkpoint.adapter)


def _skeleton(checkpoint: Checkpoint, attention: str) -> Any:
    """The model that a folder's config.json describes, without storage."""
    try:
        settings = model_config(checkpoint.folder, checkpoint.config, attention)
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(
                settings, attn_implementation="eager", trust_remote_code=False
            )
    except UNREADABLE as error:
        raise VoVNetError(
            f"the model in {checkpoint.folder} cannot be loaded (config.json: {' '.join(str(error).split())}); "
            "download it again."
        ) from error


def optimize_for_inference(model: Any, config: BackboneConfig) -> None:
    """Run transformers' model in fewer, larger calls, compiled where asked for."""
    attend_by_length(model)
    fuse(model)
    if config.compile:
        compile_parts(model)


def load_builder(
    config: BackboneConfig, budget: VisionBudgetConfig, checkpoint: Checkpoint, pruning: Pruning | None = None
) -> InputBuilder:
    """The part that makes batches; needs no weights.

    Raises:
        VoVNetError: tokeniser, image processor or chat template are missing or cannot be used.
    """
    tokenizer, image_processor = load_processors(checkpoint.folder)
    _check_vocabulary(str(checkpoint.folder), tokenizer, checkpoint)
    if config.chat_template != "none":  # a processor's may differ from the tokenizer's own
        tokenizer.chat_template = find_template(checkpoint.folder, tokenizer)[1]
    found = reading_of(config, checkpoint)
    around = found.head, found.tail
    return InputBuilder(
        tokenizer=tokenizer,
        image_processor=image_processor,
        format=make_format(tokenizer, around, checkpoint.config, sides(checkpoint)[1], config.prompt_order),
        budget=make_budget(budget, *sides(checkpoint), pruning),
        end_token=tokenizer.eos_token_id,
        context=checkpoint.text_config.get("max_position_embeddings"),
    )


def _check_vocabulary(folder: str, tokenizer: Any, checkpoint: Checkpoint) -> None:
    """Refuse a tokenizer that is empty (transformers makes one up where its files are missing) or another model's.

    Raises:
        VoVNetError: it makes no tokens, has no end token, or a token has no row in the model's embedding.
    """
    if not tokenizer.encode("What?", add_special_tokens=False):
        raise VoVNetError(f"{folder} lacks a tokenizer (tokenizer.json); save it beside the model.")
    if tokenizer.eos_token_id is None:
        raise VoVNetError(f"the tokenizer in {folder} has no end token; set eos_token and save it again.")
    size = int(checkpoint.text_config["vocab_size"])
    named = {name: checkpoint.config[name] for name in IMAGE_TOKENS}
    for name, token in {"the tokenizer's last": len(tokenizer) - 1, **named}.items():
        if not 0 <= token < size:
            raise VoVNetError(
                f"the model in {folder} knows tokens 0 to {size - 1}, but {name} is {token}; save tokenizer and model "
                "of one checkpoint."
            )


def _merged(model: Any, adapter: Path) -> Any:
    """The model with LoRA weights added into its own: no layer more, no time more."""
    return attach(model, adapter).merge_and_unload()
