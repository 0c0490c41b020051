"""Whether a family's fast path gives what the generic implementation gives, on two questions with an image each."""

import io
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vovnet.actions import Action
from vovnet.data import Item, Sample
from vovnet.data.sample import HeldImage
from vovnet.errors import VoVNetError, first_line, out_of_memory
from vovnet.fingerprint import digest, recall_text, remember_text
from vovnet.schema import BackboneConfig
from vovnet.vlm.device import pick_device
from vovnet.vlm.files import Checkpoint
from vovnet.vlm.protocol import VLM

log = logging.getLogger(__name__)

VERSION = 2  # rises when a fast path or the generic implementation changes
AGREES = "agrees"
# What a call raises that the installed version of transformers does not take.
FAULTS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ImportError, NotImplementedError)
QUESTIONS = ("What is shown?", "How many are there, and of which colour is the largest one?")
# Largest difference of logits, in their standard deviations, that counts as rounding.
ROUNDING = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}


def known_to_agree(config: BackboneConfig, checkpoint: Checkpoint) -> bool | None:
    """Whether both were found to agree for a configuration of a model and the installed versions; warns where they do
    not. None where they have not been compared.

    Weights do not count: what a new version of transformers changes, it changes for all of them.
    """
    verdict = recall_text(_name(config, checkpoint))
    return None if verdict is None else _said(verdict, checkpoint)


def that_agrees(
    config: BackboneConfig,
    checkpoint: Checkpoint,
    actions: Sequence[Action],
    fast: Callable[[], VLM],
    generic: Callable[[], VLM],
) -> VLM | None:
    """Load both, one after the other, and compare them; the fast path, or None where it differs, which is warned of.

    Args:
        actions: that both can take.
    """
    try:
        truth, limit = _seen(generic(), actions)
    except (VoVNetError, *FAULTS) as error:
        if out_of_memory(error):
            raise
        log.info("the fast path cannot be compared with the generic implementation (%s)", first_line(error))
        return fast()  # loading it says what is wrong with the checkpoint, if anything
    vlm, verdict = _compared(fast, actions, truth, limit)
    remember_text(_name(config, checkpoint), verdict)
    return vlm if _said(verdict, checkpoint) else None


def _said(verdict: str, checkpoint: Checkpoint) -> bool:
    if verdict != AGREES:
        log.warning(
            "with transformers %s the fast path for %s models %s; the generic implementation is used, which is slower",
            version("transformers"),
            checkpoint.model_type,
            verdict,
        )
    return verdict == AGREES


def _name(config: BackboneConfig, checkpoint: Checkpoint) -> str:
    device = pick_device(config.device)
    facts = [VERSION, checkpoint.config, config.dtype, config.attn_implementation, config.compile, device.type]
    if config.batch_invariant:
        facts.append("batch_invariant")
    return "fast path " + digest([facts, [version(name) for name in ("transformers", "torch")]])


def _compared(
    fast: Callable[[], VLM], actions: Sequence[Action], truth: list[Tensor], limit: float
) -> tuple[VLM | None, str]:
    """The fast path, and ``AGREES`` or what is wrong with it."""
    vlm = None
    try:
        vlm = fast()
        found, _ = _seen(vlm, actions)
    except VoVNetError:
        raise
    except FAULTS as error:
        if out_of_memory(error):
            raise
        return vlm, f"fails ({type(error).__name__})"
    far = max(difference(one, other) for one, other in zip(found, truth, strict=True))
    return vlm, AGREES if far < limit else f"differs from it by {far:.2g} standard deviations of the logits"


def difference(found: Tensor, truth: Tensor) -> float:
    """Largest difference, in standard deviations of the truth."""
    return float((found.float() - truth.float()).abs().max() / truth.float().std().clamp_min(1e-6))


@torch.inference_mode()
def _seen(vlm: VLM, actions: Sequence[Action]) -> tuple[list[Tensor], float]:
    """Logits under each action, the references' NLL last, on the CPU; and the difference that is rounding."""
    batch = vlm.builder.build(noise_items(), actions)
    text = vlm.read(batch, Action.NO)
    states = [vlm.read(batch, action, text) for action in actions]
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
