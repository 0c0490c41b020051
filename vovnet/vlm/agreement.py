"""Whether a family's fast path gives what the generic implementation gives, on two questions with an image each."""

import io
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vovnet.actions import VISUAL_ACTIONS, Action
from vovnet.data import Item, Sample
from vovnet.data.sample import HeldImage
from vovnet.errors import VoVNetError, first_line, out_of_memory
from vovnet.fingerprint import digest, recall_text, remember_text
from vovnet.schema import BackboneConfig
from vovnet.vlm.device import pick_device
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.protocol import VLM

log = logging.getLogger(__name__)

VERSION = 1  # rises when a fast path or the generic implementation changes
AGREES = "agrees"
# What a call raises that the installed version of transformers does not take.
FAULTS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ImportError, NotImplementedError)
QUESTIONS = ("What is shown?", "How many are there, and of which colour is the largest one?")
# Largest difference of logits, in their standard deviations, that counts as rounding.
ROUNDING = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}


def fast_path_agrees(
    config: BackboneConfig, checkpoint: Checkpoint, fast: Callable[[], VLM], generic: Callable[[], VLM]
) -> bool:
    """Compare both once for a configuration of a model and the installed versions; warns where they differ.

    Weights do not count: what a new version of transformers changes, it changes for all of them.
    """
    device = pick_device(config.device)
    facts = [VERSION, checkpoint.config, config.dtype, config.attn_implementation, config.compile, device.type]
    installed = [version(name) for name in ("transformers", "torch")]
    name = "fast path " + digest([facts, installed])
    if (verdict := recall_text(name)) is None:
        try:
            truth = _seen(generic)
        except (VoVNetError, *FAULTS) as error:
            if out_of_memory(error):
                raise
            log.info("the fast path cannot be compared with the generic implementation (%s)", first_line(error))
            return True  # loading it says what is wrong with the checkpoint, if anything
        verdict = _compared(fast, *truth)
        remember_text(name, verdict)
    if verdict != AGREES:
        log.warning(
            "with transformers %s the fast path for %s models %s; the generic implementation is used, which is slower",
            version("transformers"),
            checkpoint.model_type,
            verdict,
        )
    return verdict == AGREES


def _compared(fast: Callable[[], VLM], truth: list[Tensor], limit: float) -> str:
    """``AGREES``, or what is wrong with the fast path."""
    try:
        found, _ = _seen(fast)
    except VoVNetError:
        raise
    except FAULTS as error:
        if out_of_memory(error):
            raise
        return f"fails ({type(error).__name__})"
    far = max(difference(one, other) for one, other in zip(found, truth, strict=True))
    return AGREES if far < limit else f"differs from it by {far:.2g} standard deviations of the logits"


def difference(found: Tensor, truth: Tensor) -> float:
    """Largest difference, in standard deviations of the truth."""
    return float((found.float() - truth.float()).abs().max() / truth.float().std().clamp_min(1e-6))


@torch.inference_mode()
def _seen(load: Callable[[], VLM]) -> tuple[list[Tensor], float]:
    """Logits under every action, the references' NLL last, on the CPU; and the difference that is rounding."""
    vlm = load()
    batch = vlm.builder.build(noise_items(), VISUAL_ACTIONS)
    text = vlm.read(batch, Action.NO)
    states = [vlm.read(batch, action, text) for action in Action]
    nll = torch.cat([vlm.nll(state, batch.references) for state in states])
    return [*(state.logits.float().cpu() for state in states), nll.float().cpu()], ROUNDING[vlm.model.dtype]


def noise_items() -> list[Item]:
    """Questions of two lengths about noise of two shapes."""
    sizes = ((64, 48), (40, 64))
    return [noise_item(row, *pair) for row, pair in enumerate(zip(QUESTIONS, sizes, strict=True))]


def noise_item(row: int, question: str, size: tuple[int, int]) -> Item:
    """A question about noise of (width, height) pixels."""
    noise = np.random.default_rng(row).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    image = HeldImage(f"noise {row}", Path(f"noise {row}"), buffer.getvalue())
    return row, Sample(str(row), question, (image,), ("yes 1",), str(row), ""), question
