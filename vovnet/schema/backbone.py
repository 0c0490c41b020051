"""Keys of the backbone, of a server that runs it, and of what an image may cost."""

from dataclasses import asdict, field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from vovnet.schema.ranges import STRICT, Count, Dtype, Place, Positive, PromptOrder, Rate


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ServedModel:
    """Where an OpenAI-compatible server is and what it runs; ``base_url`` is null for a model that is loaded here."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None  # as in http://127.0.0.1:8000/v1
    model: str | None = None  # as the server calls it
    processor: Place | None = None  # the model's folder or hub id; its processor sizes and counts images
    concurrency: Positive = 16  # requests at once
    retries: Count = 6  # of a request, after 0.5 s, 1 s, 2 s …
    timeout: Rate = 120.0  # seconds of a request


@dataclass(frozen=True, config=STRICT)
class BackboneConfig(ServedModel):
    """Which vision-language model answers, and how it is run."""

    name: str  # a hub id, or the name of a checkpoint that travels in the package
    packaged: bool  # true: `name` lies in vovnet/vlm/checkpoints
    path: Place | None  # a local folder saved with save_pretrained; wins over `name`
    adapter: Place | None  # a LoRA folder of stage 1 or 2 (peft's format), merged into the weights when loaded
    revision: str | None  # hub revision
    prompt_order: PromptOrder  # auto: image_first, as chat models are trained
    chat_template: Literal["auto", "none"]  # auto: the checkpoint's own; none: bare text
    dtype: Dtype  # auto: that of the checkpoint
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]  # auto takes CUDA where there is some
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"]
    compile: bool  # norms, feed-forward parts and vision blocks by torch.compile: a minute once, then faster on a GPU
    cuda_graphs: bool  # greedy decoding by CUDA graphs, where the device is one
    implementation: Literal["auto", "generic", "qwen"] = "auto"  # auto: the family's fast path where there is one
    batch_invariant: bool = False  # no answer depends on the other questions of its batch, in half precision neither

    @model_validator(mode="after")
    def _shapes_decide(self) -> "BackboneConfig":
        if self.batch_invariant and self.compile:
            raise ValueError("batch_invariant needs compile=false: compiled kernels depend on the shapes seen before")
        if self.batch_invariant and self.attn_implementation == "flash_attention_2":
            raise ValueError("batch_invariant needs attn_implementation=sdpa or eager: flash attention drops padding")
        return self

    @property
    def graphs(self) -> bool:
        """Whether to decode by graphs, whose attention is sdpa's: not what ``eager`` asks for."""
        return self.cuda_graphs and self.attn_implementation != "eager"


@dataclass(frozen=True, config=STRICT)
class Resolution:
    """Upper bounds on an image; all hold."""

    long_side: Positive  # pixels
    max_pixels: Positive  # pixels, width times height
    max_tokens: Positive | None = None  # vision tokens of an image; null: no bound of its own
    # Options of the family's image processor, for families in which a smaller picture saves nothing, such as
    # {do_image_splitting: false}; auto: those that make COARSE cheaper than FULL.
    processor: dict[str, Any] | Literal["auto"] | None = field(default=None, hash=False)

    def facts(self) -> dict[str, Any]:
        """What was set, for hashes: keys that are newer than some results count only where they are."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def keys(self) -> dict[str, Any]:
        """Options of the image processor."""
        assert self.processor != "auto"  # ``vovnet.vlm.auto`` has chosen
        return dict(self.processor or {})


@dataclass(frozen=True, config=STRICT)
class VisionBudgetConfig:
    """What COARSE and FULL may spend on one image."""

    coarse: Resolution
    full: Resolution
    patch_size: Positive | None  # pixels; null takes the backbone's, anything else must equal it
    auto: bool = (
        False  # FULL ends where the processor ends, if that is below its bounds; COARSE is a quarter of its side
    )

    @model_validator(mode="after")
    def _coarse_is_coarser(self) -> "VisionBudgetConfig":
        if self.coarse.long_side > self.full.long_side or self.coarse.max_pixels > self.full.max_pixels:
            raise ValueError("coarse may not exceed full in long_side or max_pixels")
        return self
