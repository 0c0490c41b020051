"""Keys of the backbone and of what an image may cost."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Dtype, Place, Positive, PromptOrder


@dataclass(frozen=True, config=STRICT)
class BackboneConfig:
    """Which vision-language model answers, and how it is run."""

    name: str  # a hub id, or the name of a checkpoint that travels in the package
    packaged: bool  # true: `name` lies in vovnet/vlm/checkpoints
    path: Place | None  # a local folder saved with save_pretrained; wins over `name`
    adapter: Place | None  # a LoRA folder of stage 1 or 2 (peft's format), merged into the weights when loaded
    revision: str | None  # hub revision
    prompt_order: PromptOrder
    chat_template: Literal["auto", "none"]  # auto: the checkpoint's own; none: bare text
    dtype: Dtype
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]  # auto takes CUDA where there is some
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"]
    compile: bool  # norms, feed-forward parts and vision blocks by torch.compile: a minute once, then faster on a GPU
    cuda_graphs: bool  # greedy decoding by CUDA graphs, where the device is one

    @property
    def graphs(self) -> bool:
        """Whether to decode by graphs, whose attention is sdpa's: not what ``eager`` asks for."""
        return self.cuda_graphs and self.attn_implementation != "eager"


@dataclass(frozen=True, config=STRICT)
class Resolution:
    """Upper bounds on an image; both hold."""

    long_side: Positive  # pixels
    max_pixels: Positive  # pixels, width times height


@dataclass(frozen=True, config=STRICT)
class VisionBudgetConfig:
    """What COARSE and FULL may spend on one image."""

    coarse: Resolution
    full: Resolution
    patch_size: Positive | None  # pixels; null takes the backbone's, anything else must equal it

    @model_validator(mode="after")
    def _coarse_is_coarser(self) -> "VisionBudgetConfig":
        if self.coarse.long_side > self.full.long_side or self.coarse.max_pixels > self.full.max_pixels:
            raise ValueError("coarse may not exceed full in long_side or max_pixels")
        return self
