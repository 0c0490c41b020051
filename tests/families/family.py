"""What a family of the factory consists of, and how its checkpoint is written."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.families import torchvision_ops  # noqa: F401  before transformers

# isort: split
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from tests.families.tokenizers import Prompt, make_tokenizer

HIDDEN = 64
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
Config = dict[str, Any]
TEXT: Config = {
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 4096,
}
VISION: Config = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


@dataclass(frozen=True)
class Family:
    """One family: prompt, configuration and processor in small, and what its images cost.

    Attributes:
        prompt: special tokens and chat template
        config: makes the model's configuration from the tokenizer (`vocab_size` and the like are filled in)
        processor: makes the processor from the tokenizer
        tokens: image positions of pictures of 64x64, 128x96 and 200x20 pixels (width x height)
        coarse: processor keys that make an image cost less; none where the family has none
        coarse_tokens: the same three counts under these keys
        model_type: where it differs from the family's name
    """

    prompt: Prompt
    config: Callable[[Any], Config]
    processor: Callable[[Any], Any]
    tokens: tuple[int, int, int]
    coarse: Config
    coarse_tokens: tuple[int, int, int]
    model_type: str | None = None


def component(name: str, *parts: Any, **keys: Any) -> Any:
    """A class of transformers by its name, made with these arguments."""
    return getattr(transformers, name)(*parts, **keys)


def identifier(tokenizer: Any, token: str) -> int:
    """The id of a token that has to exist."""
    found = tokenizer.get_vocab()[token]
    return int(found)


def identifiers(tokenizer: Any, **marks: str) -> Config:
    """Ids of tokens under the names that a configuration gives them."""
    return {key: identifier(tokenizer, mark) for key, mark in marks.items()}


def text(tokenizer: Any, **keys: Any) -> Config:
    """A small language model's configuration."""
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {**TEXT, "vocab_size": len(tokenizer), **special, **keys}


def model(tokenizer: Any, words: Config, vision: Config, **keys: Any) -> Config:
    """A model's configuration from those of its language model and its tower."""
    return {"text_config": text(tokenizer, **words), "vision_config": vision, **keys}


def write_family(name: str, family: Family, folder: Path) -> None:
    """Write model, tokenizer, processor and generation settings as `save_pretrained` does."""
    tokenizer = make_tokenizer(family.prompt)
    processor = family.processor(tokenizer)
    processor.chat_template = family.prompt.template
    config = AutoConfig.for_model(family.model_type or name, **family.config(tokenizer))
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    initialise(model)
    stops = [identifier(tokenizer, token) for token in (family.prompt.eos, *family.prompt.stops)]
    special = {f"{key}_token_id": getattr(tokenizer, f"{key}_token_id") for key in ("bos", "pad")}
    model.generation_config = GenerationConfig(**special, eos_token_id=stops if len(stops) > 1 else stops[0])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Draw every matrix at 1/sqrt(fan-in), so that images and words reach the logits at this width."""
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            fan_in = weight[0].numel() if weight.ndim >= 4 else weight.shape[-1]
            nn.init.normal_(weight, std=1 / math.sqrt(fan_in))
        elif name.endswith("_gate"):  # tanh gates start closed and would hide the image
            nn.init.constant_(weight, 0.5)
